/* The command line: a table of commands, each with its flags as data; parsing, help and "did you
 * mean" walk the tables. The only place that prints errors and knows exit statuses.
 *
 * No option is kept in a static, so tests call cli_main in process. */
#ifndef SCRIPTS_RLHF_CLI_H
#define SCRIPTS_RLHF_CLI_H

#include "data/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Flag {
    const char *name;     /* "--out"; NULL ends a list */
    const char *letter;   /* "-o" or NULL */
    const char *argument; /* "DIR"; "[STAGE]": may be left out; NULL: takes none */
    const char *help;
} Flag;

typedef struct Given {
    const Flag *flag;
    const char *value; /* NULL where there is none */
} Given;

typedef struct Cli {
    FILE *out;    /* results */
    FILE *errors; /* progress and errors */
    const struct Command *command;
    int words; /* what is no flag, in order */
    const char **word;
    int givens;
    Given *given;
} Cli;

typedef Status CommandRun(Cli *cli);

typedef struct Command {
    const char *name;
    CommandRun *run;
    const char *arguments; /* "PRESET|CONFIG.json [--out DIR]" */
    const char *help;      /* one line */
    const char *section;   /* settings shown by help, or NULL */
    const char *example;
    int minimum, maximum; /* words */
    const Flag *flags;    /* ends with a NULL name; may be NULL */
} Command;

extern const Command commands[];
extern const int command_count;

/* NULL: none of that name. */
const Command *command_find(const char *name);
/* STATUS_USAGE with the nearest name. */
Status command_unknown(const char *name);

/* Runs one command line; returns the exit status. */
int cli_main(int argc, char **argv, FILE *out, FILE *errors);

/* Was it given? Its last value (NULL: not given). */
bool cli_has(const Cli *cli, const char *flag);
const char *cli_value(const Cli *cli, const char *flag);
/* A flag's number in [low, high], `initial` where it was not given; anything else: STATUS_USAGE. */
Status cli_number(double *number, const Cli *cli, const char *flag, double initial, double low,
                  double high);
Status cli_integer(int64_t *number, const Cli *cli, const char *flag, int64_t initial, int64_t low,
                   int64_t high);

/* Help of one command and of the program. */
Status help_of(FILE *out, const Command *command);
void help_overview(FILE *out);

#endif
