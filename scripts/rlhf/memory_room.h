/* How much memory this process may still claim. */
#ifndef SCRIPTS_RLHF_MEMORY_ROOM_H
#define SCRIPTS_RLHF_MEMORY_ROOM_H

/* Bytes: the least of MemAvailable and of what the limits of its cgroup and of those above it (v2
 * or v1: Slurm's --mem, containers) leave, page cache that can be dropped not counted as used.
 * Infinite where nothing says. `root` goes before every path: "", but for tests. */
double memory_room(const char *root);

#endif
