/* Every command with its flags, in the order help lists them. */
#include "scripts/rlhf/cli.h"
#include "scripts/rlhf/command_list.h"

#define FLAG_JSON                                                                                  \
    {                                                                                              \
        "--json", NULL, NULL, "machine-readable"                                                   \
    }
#define FLAG_FORCE                                                                                 \
    {                                                                                              \
        "--force", NULL, NULL,                                                                     \
            "go on to PPO although a gate of rlhf doctor failed (exit status 9), and from a "      \
            "checkpoint that another program made"                                                 \
    }
#define FLAG_SET                                                                                   \
    {                                                                                              \
        "--set", NULL, "A=B", "change a setting or an option; may be repeated"                     \
    }

static const Flag run_flags[] = {
    {"--out", "-o", "DIR", "where the run lives (default runs/PRESET-sSEED)"},
    FLAG_SET,
    {"--seeds", NULL, "1..5", "one run a seed; also 1,2,3; lists in --set multiply"},
    {"--jobs", "-j", "N", "runs at a time with --seeds or lists (default 1)"},
    {"--until", NULL, "STAGE", "stop after this stage"},
    {"--resume", NULL, NULL, "go on where the run stopped; start where there is none"},
    {"--restart", NULL, "[STAGE]", "do STAGE and all after it again (default: everything)"},
    {"--break", NULL, "FAULT", "make a known mistake on purpose, see rlhf break --list"},
    FLAG_FORCE,
    {"--dry-run", NULL, NULL, "say what would run, how long, how much disk and memory"},
    {"--max-hours", NULL, "H", "commit and stop after so many hours (exit status 75)"},
    {"--json", NULL, NULL, "print the scorecard instead of the tables"},
    {0},
};

static const Flag resume_flags[] = {
    FLAG_SET,
    {"--until", NULL, "STAGE", "stop after this stage"},
    FLAG_FORCE,
    {"--max-hours", NULL, "H", "commit and stop after so many hours (exit status 75)"},
    {"--json", NULL, NULL, "print the scorecard instead of the tables"},
    {0},
};

static const Flag stage_flags[] = {
    FLAG_SET,
    {"--break", NULL, "FAULT", "make a known mistake on purpose, see rlhf break --list"},
    {"--restart", NULL, NULL, "do it again although it is finished"},
    {"--max-hours", NULL, "H", "commit and stop after so many hours (exit status 75)"},
    {0},
};

static const Flag ppo_flags[] = {
    FLAG_SET,
    {"--break", NULL, "FAULT", "make a known mistake on purpose, see rlhf break --list"},
    {"--restart", NULL, NULL, "do it again although it is finished"},
    FLAG_FORCE,
    {"--max-hours", NULL, "H", "commit and stop after so many hours (exit status 75)"},
    {"--from-rollouts", NULL, "K",
     "only repeat the updates from the nearest checkpoint up to K and compare; changes nothing"},
    {0},
};

static const Flag break_flags[] = {
    {"--list", NULL, NULL, "what each fault is, where it bit, what gives it away (default)"},
    {"--reveal", NULL, "DIR", "which fault a run was made with"},
    FLAG_JSON,
    {0},
};

static const Flag verify_flags[] = {
    {"--steps", NULL, "A..B", "repeat these PPO updates (default: one after every checkpoint)"},
    FLAG_SET,
    FLAG_JSON,
    {0},
};

static const Flag json_flags[] = {FLAG_JSON, {0}};

static const Flag metrics_flags[] = {
    {"--stage", NULL, "S", "only this stage"},
    {"--metric", NULL, "M", "only metrics whose name contains M"},
    {"--csv", NULL, NULL, "run,stage,step,metric,value: one row a number"},
    {"--json", NULL, NULL, "one object a step"},
    {"--plot", NULL, NULL, "curves in the terminal"},
    {0},
};

static const Flag inspect_flags[] = {
    {"--step", NULL, "K", "a PPO step (default: the newest)"},
    {"--sample", NULL, "I", "every token of this answer, counted from 0"},
    {"--worst-gap", NULL, "N", "only the N answers whose score exceeds gold most, standardised"},
    {"--sort", NULL, "BY", "score, gold, kl, gap or length, highest first (default: as stored)"},
    {"--csv", NULL, NULL, "the same with all digits, texts whole"},
    FLAG_JSON,
    {0},
};

static const Flag doctor_flags[] = {
    {"--stage", NULL, "S", "only what this stage left"},
    FLAG_JSON,
    {0},
};

static const Flag watch_flags[] = {
    {"--once", NULL, NULL, "print one picture and end"},
    {"--every", NULL, "S", "seconds between two pictures (default 1)"},
    {0},
};

static const Flag plot_flags[] = {
    {"--out", "-o", "FOLDER", "where the figures go (default plots)"},
    {"--metric", NULL, "M", "a figure for each metric whose name contains M; may be repeated"},
    {"--stage", NULL, "S", "of this stage instead of ppo"},
    {"--pdf", NULL, NULL, "scripts draw PDF unless told otherwise, not SVG"},
    {0},
};

static const Flag generate_flags[] = {
    {"--prompt", "-p", "TEXT", "what to answer (default: held-out prompts of the task)"},
    {"--count", "-n", "N", "answers (default 1)"},
    {"--temperature", NULL, "T", "0: the likeliest token; default: ppo.temperature of the run"},
    {"--top-k", NULL, "K", "draw from the K likeliest tokens; 0: all (default)"},
    {"--top-p", NULL, "P", "draw from the likeliest tokens of share P; 1: all (default)"},
    {"--seed", NULL, "S", "default: the run's"},
    FLAG_JSON,
    {0},
};

static const Flag chat_flags[] = {
    {"--temperature", NULL, "T", "0: the likeliest token; default: ppo.temperature of the run"},
    {"--top-k", NULL, "K", "draw from the K likeliest tokens; 0: all (default)"},
    {"--top-p", NULL, "P", "draw from the likeliest tokens of share P; 1: all (default)"},
    {"--seed", NULL, "S", "default: the run's"},
    {0},
};

static const Flag report_flags[] = {
    {"--output", "-o", "FILE", "the file to write (default report.html in the first DIR)"},
    {0},
};

static const Flag config_flags[] = {
    {"--out", "-o", "DIR", "new: the run directory to make"},
    FLAG_SET,
    {"--schema", NULL, NULL, "show: the JSON Schema of the settings"},
    {0},
};

static const Flag export_flags[] = {
    {"--output", "-o", "FILE", "the file to write; - is standard output"},
    {"--hh", NULL, NULL, "pairs: HH's form, prompt and answer in one text with turns"},
    {0},
};

static const Flag bench_flags[] = {
    {"--threads", NULL, "N", "default 2"},
    {"--d", NULL, "N", "channels (default 128)"},
    {"--layers", NULL, "N", "default 4"},
    {"--heads", NULL, "N", "default 4"},
    {"--vocab", NULL, "N", "default 512"},
    {"--prompt", NULL, "N", "tokens of a prompt (default 32)"},
    {"--response", NULL, "N", "tokens of an answer (default 64)"},
    {"--batch", NULL, "N", "sequences a training step (default 64)"},
    {"--rollouts", NULL, "N", "answers a PPO iteration (default 128)"},
    {"--epochs", NULL, "N", "of a PPO iteration (default 4)"},
    {"--minibatches", NULL, "N", "of an epoch (default 4)"},
    {"--shards", NULL, "N", "of a minibatch (default 8)"},
    {"--repeats", NULL, "N", "samples behind each median (default 5)"},
    {"--training", NULL, NULL, "training steps, a checkpoint and --batch answers, no PPO"},
    {"--kernels", NULL, NULL, "the time of every stage and kernel of a PPO iteration"},
    {"--check", NULL, "DIR", "write weights and tokens into DIR and print the losses they give"},
    FLAG_JSON,
    {0},
};

#define STAGE_COMMAND(name_, run_, help_)                                                          \
    {                                                                                              \
        .name = name_, .run = run_, .arguments = "DIR", .help = help_, .section = name_,           \
        .example = "rlhf " name_ " runs/quickstart-s1", .minimum = 1, .maximum = 1,                \
        .flags = stage_flags                                                                       \
    }

const Command commands[] = {
    {.name = "run",
     .run = command_run,
     .arguments = "PRESET|CONFIG.json",
     .section = NULL,
     .help = "run all stages, from text to scorecard",
     .example = "rlhf run quickstart --set ppo.kl_coef=0.1",
     .minimum = 1,
     .maximum = 1,
     .flags = run_flags},
    {.name = "resume",
     .run = command_resume,
     .arguments = "DIR",
     .help = "go on with a run that was stopped",
     .example = "rlhf resume runs/quickstart-s1",
     .minimum = 1,
     .maximum = 1,
     .flags = resume_flags},
    STAGE_COMMAND("pretrain", command_stage, "train the language model on the task's text"),
    STAGE_COMMAND("sft", command_stage, "fine-tune it on demonstrations"),
    STAGE_COMMAND("label", command_stage,
                  "sample pairs of answers and let the simulated human choose"),
    STAGE_COMMAND("reward", command_stage, "train a reward model on the comparisons"),
    {.name = "ppo",
     .run = command_ppo,
     .arguments = "DIR",
     .help = "optimise the policy against the reward model",
     .section = "ppo",
     .example = "rlhf ppo runs/quickstart-s1 --from-rollouts 20",
     .minimum = 1,
     .maximum = 1,
     .flags = ppo_flags},
    STAGE_COMMAND("evaluate", command_stage, "score every stage's policy, gold beside proxy"),
    {.name = "status",
     .run = command_status,
     .arguments = "DIR",
     .help = "stages, steps, speed, time left, size",
     .example = "rlhf status runs/quickstart-s1",
     .minimum = 1,
     .maximum = 1,
     .flags = json_flags},
    {.name = "watch",
     .run = command_watch,
     .arguments = "DIR",
     .help = "a live view of a run that goes on elsewhere; q leaves",
     .example = "rlhf watch runs/quickstart-s1",
     .minimum = 1,
     .maximum = 1,
     .flags = watch_flags},
    {.name = "metrics",
     .run = command_metrics,
     .arguments = "DIR...",
     .help = "what the stages measured",
     .example = "rlhf metrics runs/quickstart-s1 --stage ppo --metric gold --plot",
     .minimum = 1,
     .maximum = 1000,
     .flags = metrics_flags},
    {.name = "inspect",
     .run = command_inspect,
     .arguments = "DIR",
     .help = "the answers of a PPO step, or every token of one",
     .example = "rlhf inspect runs/quickstart-s1 --step 20 --worst-gap 5",
     .minimum = 1,
     .maximum = 1,
     .flags = inspect_flags},
    {.name = "compare",
     .run = command_compare,
     .arguments = "DIR DIR...",
     .help = "what runs have otherwise than the first: settings, scores, where they part",
     .example = "rlhf compare runs/quickstart-s1 runs/quickstart-s2",
     .minimum = 2,
     .maximum = 1000,
     .flags = json_flags},
    {.name = "report",
     .run = command_report,
     .arguments = "DIR... [-o FILE]",
     .help = "one HTML file about one run or many, to open offline",
     .example = "rlhf report runs/quickstart-s1",
     .minimum = 1,
     .maximum = 1000,
     .flags = report_flags},
    {.name = "doctor",
     .run = command_doctor,
     .arguments = "DIR",
     .help = "which stage is broken, why, and what to set (exit status 9 where a gate failed)",
     .example = "rlhf doctor runs/quickstart-s1",
     .minimum = 1,
     .maximum = 1,
     .flags = doctor_flags},
    {.name = "plot",
     .run = command_plot,
     .arguments = "DIR... [--out FOLDER]",
     .help = "figures for papers, as gnuplot scripts and data; seeds as mean and band",
     .example = "rlhf plot runs/quickstart-s* --metric objective/kl --out figures",
     .minimum = 1,
     .maximum = 1000,
     .flags = plot_flags},
    {.name = "generate",
     .run = command_generate,
     .arguments = "DIR[@STAGE|@STEP]",
     .help = "let a policy answer a prompt",
     .example = "rlhf generate runs/quickstart-s1@sft --prompt \"...\" -n 3",
     .minimum = 1,
     .maximum = 1,
     .flags = generate_flags},
    {.name = "chat",
     .run = command_chat,
     .arguments = "DIR[@STAGE|@STEP]",
     .help = "answer every line of standard input",
     .example = "rlhf chat runs/quickstart-s1",
     .minimum = 1,
     .maximum = 1,
     .flags = chat_flags},
    {.name = "export",
     .run = command_export,
     .arguments = "DIR pairs|rollouts",
     .help = "comparisons or rollouts as JSONL for other programs",
     .example = "rlhf export runs/quickstart-s1 pairs -o pairs.jsonl",
     .minimum = 2,
     .maximum = 2,
     .flags = export_flags},
    {.name = "verify",
     .run = command_verify,
     .arguments = "DIR",
     .help = "check hashes, compute rollouts again, repeat updates: all to the bit",
     .example = "rlhf verify runs/quickstart-s1 --steps 3..5",
     .minimum = 1,
     .maximum = 1,
     .flags = verify_flags},
    {.name = "break",
     .run = command_break,
     .arguments = "[--list | --reveal DIR]",
     .help = "the fault lab: known mistakes to make on purpose with --break",
     .example = "rlhf run quickstart --break hidden:7 --out runs/hunt",
     .flags = break_flags},
    {.name = "config",
     .run = command_config,
     .arguments = "new PRESET --out DIR | show PRESET|DIR | check FILE | diff A B",
     .help = "make, show, check and compare settings",
     .example = "rlhf config new quickstart --set seed=2 --out runs/mine",
     .minimum = 2,
     .maximum = 3,
     .flags = config_flags},
    {.name = "bench",
     .run = command_bench,
     .arguments = "",
     .help = "how fast this machine trains, against its bare matrix products",
     .example = "rlhf bench --threads 2 --json",
     .flags = bench_flags},
    {.name = "tasks",
     .run = command_tasks,
     .arguments = "",
     .help = "the worlds a policy can live in",
     .example = "rlhf tasks",
     .flags = json_flags},
    {.name = "explain",
     .run = command_explain,
     .arguments = "[METRIC]",
     .help = "what a metric means, its formula and healthy range",
     .example = "rlhf explain objective/kl",
     .maximum = 1},
    {.name = "version",
     .run = command_version,
     .arguments = "",
     .help = "versions of the program and what it stands on",
     .example = "rlhf version --json",
     .flags = json_flags},
    {.name = "help",
     .run = command_help,
     .arguments = "[COMMAND|SECTION]",
     .help = "help on a command or on the settings of a section",
     .example = "rlhf help ppo",
     .maximum = 1},
};

const int command_count = sizeof commands / sizeof commands[0];
