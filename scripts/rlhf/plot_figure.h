/* One figure for a paper: the data and the gnuplot script that draws it, NAME.dat and NAME.gp.
 *
 * Runs whose settings differ in the seed alone are one group: its mean, and a band of one standard
 * deviation over its runs. */
#ifndef SCRIPTS_RLHF_PLOT_FIGURE_H
#define SCRIPTS_RLHF_PLOT_FIGURE_H

#include "scripts/rlhf/report/report.h"

enum { FIGURE_CURVES = 2, FIGURE_NAME = 128, FIGURE_RUNS = 1000 };

typedef struct FigureCurve {
    const char *metric; /* a column of the stage's journal */
    const char *name;   /* in the key; NULL: only the group's label */
} FigureCurve;

typedef struct Figure {
    char name[FIGURE_NAME]; /* of its files */
    const char *stage;
    bool over_kl; /* over the square root of objective/kl instead of steps */
    char y_label[FIGURE_NAME];
    FigureCurve curve[FIGURE_CURVES];
    int curves;
} Figure;

/* Writes both files into `folder`; `format` is what the script draws unless told otherwise: "svg"
 * or "pdf". *drawn: how many curves have values; nothing is written where none has. */
Status figure_write(int *drawn, const Figure *figure, const Report *report, const char *folder,
                    const char *format);

#endif
