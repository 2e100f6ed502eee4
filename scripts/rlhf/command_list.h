/* What the commands of commands.c run. */
#ifndef SCRIPTS_RLHF_COMMAND_LIST_H
#define SCRIPTS_RLHF_COMMAND_LIST_H

#include "scripts/rlhf/cli.h"

CommandRun command_run, command_resume, command_stage;          /* run_command.c */
CommandRun command_status;                                      /* status.c */
CommandRun command_watch;                                       /* watch_command.c */
CommandRun command_metrics;                                     /* metrics_command.c */
CommandRun command_inspect;                                     /* inspect_command.c */
CommandRun command_compare;                                     /* compare_command.c */
CommandRun command_doctor;                                      /* doctor_command.c */
CommandRun command_report;                                      /* report/report.c */
CommandRun command_plot;                                        /* plot_command.c */
CommandRun command_generate, command_chat;                      /* generate_command.c */
CommandRun command_export;                                      /* export.c */
CommandRun command_ppo, command_verify;                         /* verify_command.c */
CommandRun command_break;                                       /* break_command.c */
CommandRun command_config;                                      /* config_command.c */
CommandRun command_bench;                                       /* bench.c */
CommandRun command_tasks, command_explain, command_version, command_help; /* help.c */

#endif
