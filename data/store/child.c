#include "data/store/private.h"

#include "data/memory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void send_bytes(int to, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        const ssize_t sent = write(to, at, count);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) _exit(STATUS_FAILED); /* nobody listens */
        at += sent;
        count -= (size_t)sent;
    }
}

static void send_refusal(int to, Status status)
{
    const size_t length = strnlen(status_message(), STORE_REFUSAL_MAX);
    const StoreReply reply = {.kind = STORE_REFUSED, .code = (uint32_t)status, .bytes = length};
    send_bytes(to, &reply, sizeof reply);
    send_bytes(to, status_message(), length);
}

/* Lowers a limit to `most`, or leaves it where it is lower. */
static Status limit(int resource, rlim_t most)
{
    struct rlimit value;
    int result = getrlimit(resource, &value);
    if (result == 0) {
        /* One more as the hard limit, so that too much time ends in SIGXCPU, which has a name. */
        const rlim_t hard = most > 0 ? most + 1 : 0;
        if (value.rlim_max > hard) value.rlim_max = hard;
        value.rlim_cur = value.rlim_max < most ? value.rlim_max : most;
        result = setrlimit(resource, &value);
    }
    if (result == 0) return STATUS_OK;
    return status_fail(STATUS_FAILED, "cannot confine the reader: %s", strerror(errno));
}

/* From here on nothing can be opened, little claimed, and a crash ends in silence. */
static Status confine(const StoreRequest *request)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU, SIGPIPE};
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++) signal(crashes[i], SIG_DFL);

    H5Lunregister(H5L_TYPE_EXTERNAL); /* the gate refuses such links; now none can be followed */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return status_fail(STATUS_FAILED, "cannot confine the reader: %s", strerror(errno));
    }
    TRY(limit(RLIMIT_NOFILE, 0));
    TRY(limit(RLIMIT_FSIZE, 0));
    TRY(limit(RLIMIT_CORE, 0));
    TRY(limit(RLIMIT_CPU, request->seconds));
    TRY(limit(RLIMIT_AS, request->mapped + 2 * STORE_CONTENT_MAX));
    return STATUS_OK;
}

static Status send_headers(int to, GateItem *items, hid_t file, const StoreRequest *request)
{
    size_t budget = STORE_CONTENT_MAX;
    for (int i = 0; i < request->count; i++) {
        TRY(gate_find(&items[i], &budget, file, &request->schema[i]));
    }
    for (int i = 0; i < request->count; i++) {
        StoreReply reply = {.kind = items[i].present ? STORE_PRESENT : STORE_ABSENT};
        for (int d = 0; d < STORE_RANK_MAX; d++) reply.extent[d] = items[i].extent[d];
        send_bytes(to, &reply, sizeof reply);
    }
    return STATUS_OK;
}

static Status send_data(int to, const GateItem *item, const StoreField *field)
{
    void *data;
    if (!item->present) return STATUS_OK;
    TRY(gate_context(memory_claim(&data, item->bytes), field));
    const Status status = gate_read(data, item, field);
    if (status == STATUS_OK) {
        const StoreReply reply = {.kind = STORE_DATA, .bytes = item->bytes};
        send_bytes(to, &reply, sizeof reply);
        send_bytes(to, data, item->bytes);
    }
    memory_release(data);
    return status;
}

static Status answer(int to, const StoreRequest *request)
{
    hid_t file;
    void *block;
    TRY(confine(request));
    TRY(memory_claim(&block, (size_t)request->count * sizeof(GateItem)));
    GateItem *items = block;
    for (int i = 0; i < request->count; i++) items[i].object = H5I_INVALID_HID;

    Status status = hdf5_open_image(&file, request->image->data, request->image->count);
    if (status == STATUS_OK) {
        status = send_headers(to, items, file, request);
        for (int i = 0; i < request->count && status == STATUS_OK; i++) {
            status = send_data(to, &items[i], &request->schema[i]);
        }
        for (int i = 0; i < request->count; i++) gate_close(&items[i], &request->schema[i]);
    }
    memory_release(block);
    if (file >= 0) H5Fclose(file);
    return status;
}

void store_child(int to, pid_t parent, const StoreRequest *request)
{
    /* It must not outlive the parent: it has inherited the run's lock. */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) _exit(STATUS_FAILED);
    for (int i = 0; i < 3; i++) {
        if (i != to) close(i); /* what the C library says of a corrupt heap is nobody's business */
    }
    const Status status = answer(to, request);
    if (status != STATUS_OK) send_refusal(to, status);
    _exit(0);
}
