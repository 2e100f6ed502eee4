#include "scripts/rlhf/report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    WIDTH = 480,
    HEIGHT = 300,
    LEFT = 62,
    RIGHT = 14,
    TOP = 12,
    BOTTOM = 46,
    TICKS = 6,          /* about so many an axis */
    MARKERS = 7,        /* about so many on a line */
    POINTS_NAMED = 200, /* more points than that carry no numbers to read */
};

enum { SHOWN_POINTS = 1, SHOWN_LINE = 2, SHOWN_DASHES = 4, SHOWN_BAR = 8 };

/* 1, 2 or 5 times a power of ten, about `range / TICKS`. */
static double tick_step(double range)
{
    const double rough = range / TICKS, power = pow(10, floor(log10(rough)));
    const double lead = rough / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

/* Widens a range to whole steps; false where there is none. A single value gets room around it. */
static bool widen(double *low, double *high)
{
    if (!isfinite(*low) || !isfinite(*high) || *low > *high) return false;
    if (*high - *low <= 1e-9 * fmax(fabs(*low), fabs(*high))) {
        const double room = *low == 0 ? 1 : fabs(*low) / 2;
        *low -= room;
        *high += room;
    }
    double step = 0; /* a wider range may ask for wider steps */
    while (isfinite(*high - *low) && step != tick_step(*high - *low)) {
        step = tick_step(*high - *low);
        *low = step * floor(*low / step + 1e-9);
        *high = step * ceil(*high / step - 1e-9);
    }
    return isfinite(*low) && isfinite(*high) && *low < *high;
}

static double place_x(const Chart *chart, double x)
{
    return LEFT + (x - chart->x0) / (chart->x1 - chart->x0) * (chart->width - LEFT - RIGHT);
}

static double place_y(const Chart *chart, double y)
{
    return chart->height - BOTTOM -
           (y - chart->y0) / (chart->y1 - chart->y0) * (chart->height - TOP - BOTTOM);
}

static bool is_inside(const Chart *chart, double x, double y)
{
    return x >= chart->x0 && x <= chart->x1 && y >= chart->y0 && y <= chart->y1; /* false for NaN */
}

/* With the decimals that the step needs. */
static void tick_text(char text[32], double value, double step)
{
    const int decimals = step >= 1 ? 0 : (int)fmin(12, ceil(-log10(step) - 1e-9));
    if (fabs(value) < step / 2) value = 0;
    if (fabs(value) >= 1e7 || (step < 1e-5 && value != 0)) {
        snprintf(text, 32, "%.3g", value);
    } else {
        snprintf(text, 32, "%.*f", decimals, value);
    }
}

static void draw_x_axis(const Chart *chart, const char *label)
{
    Page *page = chart->page;
    const double step = tick_step(chart->x1 - chart->x0), bottom = chart->height - BOTTOM;
    const int ticks = (int)floor((chart->x1 - chart->x0) / step + 0.5);
    for (int i = 0; i <= ticks; i++) {
        char text[32];
        const double value = chart->x0 + i * step, x = place_x(chart, value);
        tick_text(text, value, step);
        page_print(page, "<path class=\"grid\" d=\"M%.1f %dV%.1f\"/>", x, TOP, bottom);
        page_print(page, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\">%s</text>", x, bottom + 16,
                   text);
    }
    page_print(page, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">",
               (LEFT + chart->width - RIGHT) / 2, chart->height - 6);
    page_string(page, label);
    page_print(page, "</text>\n");
}

static void draw_y_axis(const Chart *chart, const char *label)
{
    Page *page = chart->page;
    const double step = tick_step(chart->y1 - chart->y0);
    const int ticks = (int)floor((chart->y1 - chart->y0) / step + 0.5);
    for (int i = 0; i <= ticks; i++) {
        char text[32];
        const double value = chart->y0 + i * step, y = place_y(chart, value);
        tick_text(text, value, step);
        page_print(page, "<path class=\"%s\" d=\"M%d %.1fH%.1f\"/>",
                   fabs(value) < step / 2 ? "grid zero" : "grid", LEFT, y, chart->width - RIGHT);
        page_print(page, "<text class=\"tick side\" x=\"%d\" y=\"%.1f\">%s</text>", LEFT - 7, y + 4,
                   text);
    }
    page_print(page, "<text class=\"label\" transform=\"translate(14 %.1f) rotate(-90)\">",
               (TOP + chart->height - BOTTOM) / 2);
    page_string(page, label);
    page_print(page, "</text>\n");
}

Chart chart_open(Page *page, const char *title, const char *x_label, const char *y_label, double x0,
                 double x1, double y0, double y1)
{
    Chart chart = {.page = page, .x0 = x0, .x1 = x1, .y0 = y0, .y1 = y1};
    chart.width = WIDTH;
    chart.height = HEIGHT;
    page_print(page, "<figure class=\"chart\">\n<figcaption>");
    page_string(page, title);
    page_print(page, "</figcaption>\n");
    chart.empty = !widen(&chart.x0, &chart.x1) || !widen(&chart.y0, &chart.y1);
    if (chart.empty) {
        page_print(page, "<p class=\"none\">no data</p>\n");
        return chart;
    }
    page_print(page, "<svg role=\"img\" viewBox=\"0 0 %g %g\" aria-label=\"", chart.width,
               chart.height);
    page_string(page, title);
    page_print(page, "\">\n");
    draw_x_axis(&chart, x_label);
    draw_y_axis(&chart, y_label);
    return chart;
}

/* The marker of a series, so that colour is never the only difference. */
static void draw_marker(Page *page, int series, double x, double y, double r)
{
    static const char *const shape[CHART_SERIES] = {
        NULL,                                                  /* a disc */
        "M-1-1H1V1H-1Z",                                       /* square */
        "M0-1.3L1.2.9H-1.2Z",                                  /* triangle */
        "M0-1.4L1.4 0L0 1.4L-1.4 0Z",                          /* diamond */
        "M-1.2-.9H1.2L0 1.3Z",                                 /* triangle, down */
        "M-1.3-.5H-.5V-1.3H.5V-.5H1.3V.5H.5V1.3H-.5V.5H-1.3Z", /* plus */
        "M-1.3-.6H1.3V.6H-1.3Z",                               /* bar, lying */
        "M-.6-1.3H.6V1.3H-.6Z",                                /* bar, upright */
    };
    if (shape[series] == NULL) {
        page_print(page, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"", x, y, r);
    } else {
        page_print(page, "<path transform=\"translate(%.1f %.1f) scale(%g)\" d=\"%s\"", x, y, r,
                   shape[series]);
    }
}

static int known_series(int series)
{
    return series >= 0 ? series % CHART_SERIES : 0;
}

static void draw_point(const Chart *chart, int series, double x, double y, bool named)
{
    if (!is_inside(chart, x, y)) return;
    draw_marker(chart->page, series, place_x(chart, x), place_y(chart, y), named ? 3.6 : 2.4);
    if (named) {
        page_print(chart->page, "><title>%.4g, %.4g</title></%s>", x, y,
                   series == 0 ? "circle" : "path");
    } else {
        page_print(chart->page, "/>");
    }
}

void chart_points(Chart *chart, int series, const double *x, const double *y, int count)
{
    if (chart->empty) return;
    series = known_series(series);
    chart->shown[series] |= SHOWN_POINTS;
    page_print(chart->page, "<g class=\"points series-%d%s\">", series,
               count > POINTS_NAMED ? " many" : "");
    for (int i = 0; i < count; i++) draw_point(chart, series, x[i], y[i], count <= POINTS_NAMED);
    page_print(chart->page, "</g>\n");
}

void chart_errors(Chart *chart, int series, const double *x, const double *y, const double *error,
                  int count)
{
    if (chart->empty) return;
    series = known_series(series);
    page_print(chart->page, "<path class=\"whisker series-%d\" d=\"", series);
    for (int i = 0; i < count; i++) {
        if (!is_inside(chart, x[i], y[i]) || !(error[i] > 0) || !isfinite(error[i])) continue;
        const double at = place_x(chart, x[i]);
        const double low = place_y(chart, fmax(chart->y0, y[i] - error[i]));
        const double high = place_y(chart, fmin(chart->y1, y[i] + error[i]));
        page_print(chart->page, "M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8", at, low, high, at - 4,
                   low, at - 4, high);
    }
    page_print(chart->page, "\"/>\n");
    chart_points(chart, series, x, y, count);
}

/* Inside a picture of its own, which cuts off what leaves the axes. */
static void draw_path(Chart *chart, int series, const double *x, const double *y, int count,
                      const char *kind)
{
    const double far = 1e4;
    page_print(chart->page,
               "<svg x=\"%d\" y=\"%d\" width=\"%g\" height=\"%g\" viewBox=\"%d %d %g "
               "%g\"><path class=\"%s series-%d\" d=\"",
               LEFT, TOP, chart->width - LEFT - RIGHT, chart->height - TOP - BOTTOM, LEFT, TOP,
               chart->width - LEFT - RIGHT, chart->height - TOP - BOTTOM, kind, series);
    bool drawing = false;
    for (int i = 0; i < count; i++) {
        const bool known = isfinite(x[i]) && isfinite(y[i]);
        if (known) {
            const double right = fmin(far, fmax(-far, place_x(chart, x[i])));
            const double down = fmin(far, fmax(-far, place_y(chart, y[i])));
            page_print(chart->page, "%c%.1f %.1f", drawing ? 'L' : 'M', right, down);
        }
        drawing = known;
    }
    page_print(chart->page, "\"/></svg>\n");
}

void chart_line(Chart *chart, int series, const double *x, const double *y, int count)
{
    if (chart->empty || count < 1) return;
    series = known_series(series);
    chart->shown[series] |= SHOWN_LINE;
    draw_path(chart, series, x, y, count, "line");
    page_print(chart->page, "<g class=\"points series-%d\">", series);
    const int apart = count > MARKERS ? count / MARKERS : 1;
    for (int i = apart / 2; i < count; i += apart) draw_point(chart, series, x[i], y[i], true);
    page_print(chart->page, "</g>\n");
}

void chart_dashes(Chart *chart, int series, const double *x, const double *y, int count)
{
    if (chart->empty || count < 1) return;
    series = known_series(series);
    chart->shown[series] |= SHOWN_DASHES;
    draw_path(chart, series, x, y, count, "dashes");
}

void chart_bar(Chart *chart, int series, double x0, double x1, double y)
{
    if (chart->empty || !isfinite(x0) || !isfinite(x1) || !isfinite(y)) return;
    series = known_series(series);
    chart->shown[series] |= SHOWN_BAR;
    const double left = place_x(chart, fmax(x0, chart->x0));
    const double right = place_x(chart, fmin(x1, chart->x1));
    const double base = place_y(chart, fmin(chart->y1, fmax(chart->y0, 0)));
    const double end = place_y(chart, fmin(chart->y1, fmax(chart->y0, y)));
    page_print(chart->page,
               "<rect class=\"bar series-%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
               "height=\"%.1f\"><title>%.4g to %.4g: %.4g</title></rect>\n",
               series, left + 0.5, fmin(base, end), fmax(0, right - left - 1), fabs(end - base), x0,
               x1, y);
}

void chart_mark(Chart *chart, double x, const char *label)
{
    if (chart->empty || !(x >= chart->x0 && x <= chart->x1)) return;
    const double at = place_x(chart, x);
    const bool left = at > chart->width / 2;
    page_print(chart->page, "<path class=\"mark\" d=\"M%.1f %dV%.1f\"/>", at, TOP,
               chart->height - BOTTOM);
    page_print(chart->page, "<text class=\"mark%s\" x=\"%.1f\" y=\"%d\">", left ? " side" : "",
               left ? at - 5 : at + 5, TOP + 12 + 15 * chart->marks++);
    page_string(chart->page, label);
    page_print(chart->page, "</text>\n");
}

void chart_keep_clear(Chart *chart, const double *x, const double *y, int count)
{
    for (int i = 0; i < count && chart->labels < CHART_LABELS; i++) {
        if (chart->empty || !is_inside(chart, x[i], y[i])) continue;
        const double at = place_x(chart, x[i]);
        chart->label[chart->labels++] = (ChartLabel){at - 3, at + 3, place_y(chart, y[i]) + 4};
    }
}

static bool has_room(const Chart *chart, const ChartLabel *label)
{
    const double line = 11;
    if (label->left < LEFT || label->right > chart->width - RIGHT) return false;
    if (label->baseline < TOP + line || label->baseline > chart->height - BOTTOM) return false;
    for (int i = 0; i < chart->labels; i++) {
        const ChartLabel *other = &chart->label[i];
        if (label->left < other->right && label->right > other->left &&
            fabs(label->baseline - other->baseline) < line) {
            return false;
        }
    }
    return true;
}

void chart_label(Chart *chart, double x, double y, const char *text)
{
    if (chart->empty || !is_inside(chart, x, y) || chart->labels == CHART_LABELS) return;
    const double width = 6.0 * (double)strlen(text), at = place_x(chart, x), up = place_y(chart, y);
    const ChartLabel places[] = {
        {at + 6, at + 6 + width, up + 4}, /* right of the point, left of it, */
        {at - 6 - width, at - 6, up + 4}, /* above, below */
        {at - width / 2, at + width / 2, up - 8},
        {at - width / 2, at + width / 2, up + 16},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!has_room(chart, &places[i])) continue;
        chart->label[chart->labels++] = places[i];
        page_print(chart->page, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\">",
                   (places[i].left + places[i].right) / 2, places[i].baseline);
        page_string(chart->page, text);
        page_print(chart->page, "</text>\n");
        return;
    }
}

/* What a series looks like, beside its name. */
static void draw_sample(Page *page, int series, int shown)
{
    page_print(page, "<svg viewBox=\"0 0 28 14\" width=\"28\" height=\"14\" aria-hidden=\"true\">");
    if (shown & SHOWN_BAR) {
        page_print(page,
                   "<rect class=\"bar series-%d\" x=\"6\" y=\"2\" width=\"16\" "
                   "height=\"10\"/>",
                   series);
    }
    if (shown & (SHOWN_LINE | SHOWN_DASHES)) {
        page_print(page, "<path class=\"%s series-%d\" d=\"M1 7H27\"/>",
                   shown & SHOWN_LINE ? "line" : "dashes", series);
    }
    if (shown & (SHOWN_POINTS | SHOWN_LINE)) {
        page_print(page, "<g class=\"points series-%d\">", series);
        draw_marker(page, series, 14, 7, 3.6);
        page_print(page, "/></g>");
    }
    page_print(page, "</svg>");
}

void chart_close(Chart *chart, const char *const *name, int names)
{
    Page *page = chart->page;
    if (!chart->empty) page_print(page, "</svg>\n");
    if (!chart->empty && names > 0) {
        page_print(page, "<ul class=\"legend\">\n");
        for (int i = 0; i < names && i < CHART_SERIES; i++) {
            if (chart->shown[i] == 0) continue;
            page_print(page, "<li>");
            draw_sample(page, i, chart->shown[i]);
            page_string(page, name[i]);
            page_print(page, "</li>\n");
        }
        page_print(page, "</ul>\n");
    }
    page_print(page, "</figure>\n");
}
