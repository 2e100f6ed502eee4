#include "scripts/rlhf/cli.h"

#include "data/config.h"
#include "data/memory.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64 };

static const Flag no_flags[] = {{0}};

const Command *command_find(const char *name)
{
    for (int i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

Status command_unknown(const char *name)
{
    const char *names[NAMES_MAX];
    for (int i = 0; i < command_count && i < NAMES_MAX; i++) names[i] = commands[i].name;
    const char *near = config_nearest(name, names, (size_t)command_count);
    if (near == NULL) {
        return status_fail(STATUS_USAGE, "%s: no such command; 'rlhf help' lists them", name);
    }
    return status_fail(STATUS_USAGE, "%s: no such command; did you mean %s?", name, near);
}

static Status unknown_flag(const Command *command, const char *word)
{
    const char *names[NAMES_MAX] = {"--help"};
    size_t count = 1;
    for (const Flag *flag = command->flags; flag->name != NULL; flag++) names[count++] = flag->name;
    const char *near = config_nearest(word, names, count);
    if (near == NULL) {
        return status_fail(STATUS_USAGE, "%s: no such flag; see rlhf %s --help", word,
                           command->name);
    }
    return status_fail(STATUS_USAGE, "%s: no such flag; did you mean %s?", word, near);
}

/* The flag that `word` names; *value is what stands behind its '=' or NULL. */
static const Flag *find_flag(const char **value, const Command *command, const char *word)
{
    *value = NULL;
    for (const Flag *flag = command->flags; flag->name != NULL; flag++) {
        const size_t length = strlen(flag->name);
        if (flag->letter != NULL && strcmp(word, flag->letter) == 0) return flag;
        if (strncmp(word, flag->name, length) != 0) continue;
        if (word[length] == '\0') return flag;
        if (word[length] == '=') {
            *value = word + length + 1;
            return flag;
        }
    }
    return NULL;
}

/* Reads the flag at argv[*at] and, where it takes one, its value. */
static Status parse_flag(Cli *cli, int *at, int argc, char **argv)
{
    const char *value;
    const Flag *flag = find_flag(&value, cli->command, argv[*at]);
    if (flag == NULL) return unknown_flag(cli->command, argv[*at]);
    if (flag->argument == NULL && value != NULL) {
        return status_fail(STATUS_USAGE, "%s: takes no value", flag->name);
    }
    if (flag->argument != NULL && value == NULL) {
        const bool optional = flag->argument[0] == '[';
        const bool follows =
            *at + 1 < argc &&
            (!optional || (argv[*at + 1][0] != '-' && cli->words >= cli->command->minimum));
        if (!follows && !optional) {
            return status_fail(STATUS_USAGE, "%s: %s is missing", flag->name, flag->argument);
        }
        if (follows) value = argv[++*at];
    }
    cli->given[cli->givens++] = (Given){flag, value};
    return STATUS_OK;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0;
}

/* Fills words and flags; *help where it was asked for. */
static Status parse(Cli *cli, bool *help, int argc, char **argv)
{
    *help = false;
    bool only_words = false;
    for (int at = 0; at < argc; at++) {
        const char *word = argv[at];
        if (only_words || word[0] != '-' || word[1] == '\0') {
            cli->word[cli->words++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
        } else if (asks_for_help(word)) {
            *help = true;
            return STATUS_OK;
        } else {
            TRY(parse_flag(cli, &at, argc, argv));
        }
    }
    const Command *command = cli->command;
    if (cli->words < command->minimum) {
        return status_fail(STATUS_USAGE, "something is missing; usage: rlhf %s %s", command->name,
                           command->arguments);
    }
    if (cli->words > command->maximum) {
        return status_fail(STATUS_USAGE, "%s: one word too many; usage: rlhf %s %s",
                           cli->word[command->maximum], command->name, command->arguments);
    }
    return STATUS_OK;
}

static Status parse_and_run(Cli *cli, int argc, char **argv)
{
    void *words, *givens;
    TRY(memory_claim(&words, ((size_t)argc + 1) * sizeof *cli->word));
    cli->word = words;
    TRY(memory_claim(&givens, ((size_t)argc + 1) * sizeof *cli->given));
    cli->given = givens;
    bool help;
    TRY(parse(cli, &help, argc, argv));
    return help ? help_of(cli->out, cli->command) : cli->command->run(cli);
}

int cli_main(int argc, char **argv, FILE *out, FILE *errors)
{
    if (argc < 2) {
        help_overview(errors);
        return STATUS_USAGE;
    }
    const char *name = asks_for_help(argv[1]) ? "help" : argv[1];
    if (strcmp(name, "--version") == 0) name = "version";
    Command chosen = {0};
    if (command_find(name) != NULL) chosen = *command_find(name);
    if (chosen.flags == NULL) chosen.flags = no_flags;
    Cli cli = {.out = out, .errors = errors, .command = &chosen};

    Status status =
        chosen.name == NULL ? command_unknown(name) : parse_and_run(&cli, argc - 2, argv + 2);
    memory_release(cli.word);
    memory_release(cli.given);
    if (fflush(out) != 0 && status == STATUS_OK) {
        status = status_fail(STATUS_IO, "standard output: %s", strerror(errno));
    }
    if (status == STATUS_OK) return STATUS_OK;
    if (chosen.name == NULL) {
        fprintf(errors, "rlhf: %s\n", status_message());
    } else {
        fprintf(errors, "rlhf %s: %s\n", chosen.name, status_message());
    }
    return (int)status;
}

const char *cli_value(const Cli *cli, const char *flag)
{
    const char *value = NULL;
    for (int i = 0; i < cli->givens; i++) {
        if (strcmp(cli->given[i].flag->name, flag) == 0) value = cli->given[i].value;
    }
    return value;
}

bool cli_has(const Cli *cli, const char *flag)
{
    for (int i = 0; i < cli->givens; i++) {
        if (strcmp(cli->given[i].flag->name, flag) == 0) return true;
    }
    return false;
}

Status cli_number(double *number, const Cli *cli, const char *flag, double initial, double low,
                  double high)
{
    *number = initial;
    const char *text = cli_value(cli, flag);
    if (text == NULL) return STATUS_OK;
    char *end;
    *number = strtod(text, &end);
    if (end == text || *end != '\0' || !(*number >= low && *number <= high)) {
        return status_fail(STATUS_USAGE, "%s %s: expected a number in [%g, %g]", flag, text, low,
                           high);
    }
    return STATUS_OK;
}

Status cli_integer(int64_t *number, const Cli *cli, const char *flag, int64_t initial, int64_t low,
                   int64_t high)
{
    double real;
    TRY(cli_number(&real, cli, flag, (double)initial, (double)low, (double)high));
    if (real != floor(real)) {
        return status_fail(STATUS_USAGE, "%s %s: expected an integer", flag, cli_value(cli, flag));
    }
    *number = (int64_t)real;
    return STATUS_OK;
}
