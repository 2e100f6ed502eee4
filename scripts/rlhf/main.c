/* rlhf: the stages of the pipeline and the tools around them are subcommands (commands.c). */
#include "scripts/rlhf/cli.h"

#include "data/store/store.h"

#include <gsl/gsl_errno.h>

int main(int argc, char **argv)
{
    gsl_set_error_handler_off();
    store_setup();
    return cli_main(argc, argv, stdout, stderr);
}
