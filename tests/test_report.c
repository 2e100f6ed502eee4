/* The report's page, charts and curves; what a browser makes of it is test_report_page's. */
#include "tests/support.h"

#include "scripts/rlhf/report/assets.h"
#include "scripts/rlhf/report/report.h"
#include "scripts/rlhf/report/series.h"
#include "scripts/rlhf/report/verdict.h"

/* ---- the page ---- */

/* What page_text makes of `count` bytes. */
static void check_text(const char *text, size_t count, const char *expected)
{
    Page page;
    page_open(&page);
    page_text(&page, text, count);
    assert_ok(page.status);
    assert_string_equal(page.html.data, expected);
    page_free(&page);
}

static void hostile_text_stays_text(void **state)
{
    (void)state;
    check_text("</script><b a=\"1\" c='2'>&amp;", 29,
               "&#60;/script&#62;&#60;b a=&#34;1&#34; c=&#39;2&#39;&#62;&#38;amp;");
    check_text("a\033[31m\nb\0c", 10, "a\\x1b[31m\\nb\\x00c");
    check_text("\xe2\x80\xae"
               "abc\xe2\x81\xa6",
               9, "\\u202eabc\\u2066");
    check_text("\xff\xc3", 2, "\xef\xbf\xbd\xef\xbf\xbd");
    check_text("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    check_text("\xce\xb2 \xf0\x9f\x99\x82", 7, "\xce\xb2 \xf0\x9f\x99\x82");
}

static void check_number(double value, const char *expected)
{
    Page page;
    page_open(&page);
    page_number(&page, value);
    assert_ok(page.status);
    assert_string_equal(page.html.data, expected);
    page_free(&page);
}

static void numbers_show_four_digits_and_keep_all(void **state)
{
    (void)state;
    check_number(1.7485536568998388,
                 "<span class=\"number\" title=\"1.7485536568998388\">1.749</span>");
    check_number(-0.0, "<span class=\"number\" title=\"-0\">0</span>");
    check_number(123456, "<span class=\"number\" title=\"123456\">123456</span>");
    check_number(12345.678, "<span class=\"number\" title=\"12345.678\">12346</span>");
    check_number(0.00012346, "<span class=\"number\" title=\"0.00012346\">0.0001235</span>");
    check_number(NAN, "<span class=\"none\" title=\"none\">–</span>");
    check_number(INFINITY, "<span class=\"none\" title=\"not finite\">–</span>");
}

static void check_estimate(double mean, double error, const char *expected)
{
    Page page;
    page_open(&page);
    page_estimate(&page, &(Estimate){mean, error, NAN});
    assert_ok(page.status);
    assert_non_null(strstr(page.html.data, expected));
    page_free(&page);
}

static void an_estimate_has_the_digits_of_its_error(void **state)
{
    (void)state;
    check_estimate(1.74855, 0.02496, "title=\"1.74855\">1.749</span>");
    check_estimate(1.74855, 0.02496, "± <span class=\"number\" title=\"0.02496\">0.025</span>");
    check_estimate(34.817, 1.4228, "title=\"34.817\">34.8</span>");
    check_estimate(512.4, 37.2, "title=\"512.4\">512</span>");
    check_estimate(-0.001, 0.2, "title=\"-0.001\">0.00</span>");
    check_estimate(3.25, NAN, "<span class=\"number\" title=\"3.25\">3.25</span>");
}

static void data_cannot_leave_its_element(void **state)
{
    (void)state;
    Page page;
    Bytes document = {0};
    page_open(&page);
    json_put_text(&page.data, "samples", "</script><!--&\xe2\x80\xa8\xe2\x80\xa9\xff\"");
    page_section(&page, "one", "A <title>", "about \"it\"");
    assert_ok(page_finish(&document, &page, "run <x>", "about"));
    assert_non_null(strstr(document.data,
                           "id=\"data\">{\"samples\":\"\\u003c/script\\u003e\\u003c!--\\u0026"
                           "\\u2028\\u2029\xef\xbf\xbd\\\"\"}</script>"));
    assert_non_null(strstr(document.data, "<title>run &#60;x&#62;</title>"));
    assert_non_null(strstr(document.data, "<li><a href=\"#one\">A &#60;title&#62;</a></li>"));
    bytes_free(&document);
    page_free(&page);
}

static void the_policy_names_every_script(void **state)
{
    (void)state;
    Page page;
    Bytes document = {0};
    page_open(&page);
    assert_ok(page_finish(&document, &page, "t", "a"));
    const char *policy = strstr(document.data, "default-src 'none'; script-src 'sha256-");
    assert_non_null(policy);
    const char *end = strchr(policy, '"');
    int hashes = 0;
    for (const char *at = policy; (at = strstr(at, "'sha256-")) != NULL && at < end; at++) {
        assert_int_equal(at[8 + 43], '=');
        assert_int_equal(at[8 + 44], '\'');
        hashes++;
    }
    assert_int_equal(hashes, report_script_count);
    assert_true(report_script_count >= 3);
    assert_null(strstr(document.data, "sourceMappingURL"));
    bytes_free(&document);
    page_free(&page);
}

static void the_first_failure_of_a_page_remains(void **state)
{
    (void)state;
    Page page;
    Bytes document = {0};
    page_open(&page);
    memory_fault(1, 1);
    page_print(&page, "%2000d", 1);
    memory_fault(0, 0);
    page_string(&page, "more");
    assert_fails(page_finish(&document, &page, "t", "a"), STATUS_FAILED, "cannot allocate");
    bytes_free(&document);
    page_free(&page);
}

/* ---- charts ---- */

static void a_chart_places_its_points(void **state)
{
    (void)state;
    Page page;
    page_open(&page);
    Chart chart = chart_open(&page, "T & t", "x", "y", 0.0, 9.3, -0.2, 1.0);
    assert_false(chart.empty);
    assert_close(chart.x1, 10.0, 1e-12, 0);
    assert_close(chart.y0, -0.2, 1e-12, 0);
    const double x[] = {0.0, 10.0, 5.0, 11.0, NAN}, y[] = {-0.2, 1.0, 0.4, 0.5, 0.5};
    chart_points(&chart, 0, x, y, 5);
    chart_close(&chart, (const char *const[]){"<first>"}, 1);
    assert_ok(page.status);
    /* 480 x 300 with margins 62, 14, 12 and 46; what lies outside or nowhere is left out. */
    assert_non_null(strstr(page.html.data, "cx=\"62.0\" cy=\"254.0\""));
    assert_non_null(strstr(page.html.data, "cx=\"466.0\" cy=\"12.0\""));
    assert_non_null(strstr(page.html.data, "cx=\"264.0\" cy=\"133.0\""));
    assert_non_null(strstr(page.html.data, "aria-label=\"T &#38; t\""));
    assert_non_null(strstr(page.html.data, "&#60;first&#62;"));
    assert_null(strstr(page.html.data, "nan"));
    page_free(&page);
}

static void a_chart_without_data_says_so(void **state)
{
    (void)state;
    Page page;
    page_open(&page);
    const double x[] = {1.0}, y[] = {1.0};
    Chart chart = chart_open(&page, "t", "x", "y", 0.0, 1.0, INFINITY, -INFINITY);
    chart_points(&chart, 0, x, y, 1);
    chart_line(&chart, 0, x, y, 1);
    chart_mark(&chart, 0.5, "here");
    chart_close(&chart, (const char *const[]){"a"}, 1);
    assert_non_null(strstr(page.html.data, "no data"));
    assert_null(strstr(page.html.data, "<svg"));
    page_free(&page);
}

static void one_value_alone_gets_room(void **state)
{
    (void)state;
    Page page;
    page_open(&page);
    const Chart chart = chart_open(&page, "t", "x", "y", 3.0, 3.0, 0.0, 0.0);
    assert_false(chart.empty);
    assert_true(chart.x0 < 3.0 && chart.x1 > 3.0 && chart.y0 < 0.0 && chart.y1 > 0.0);
    page_free(&page);
}

/* ---- curves ---- */

static void smoothing_is_the_weighted_mean_of_the_past(void **state)
{
    (void)state;
    const double value[] = {3.0, -1.0, 4.0, 1.5, -9.25}, weight = 0.7;
    double smooth[5];
    series_smooth(smooth, value, 5, weight);
    for (int i = 0; i < 5; i++) {
        double sum = 0.0, weights = 0.0;
        for (int j = 0; j <= i; j++) {
            sum += pow(weight, i - j) * value[j];
            weights += pow(weight, i - j);
        }
        assert_close(smooth[i], sum / weights, 1e-12, 0);
    }
    series_smooth(smooth, value, 5, 0.0);
    assert_memory_equal(smooth, value, sizeof value);
}

static void a_constant_stays_one_from_its_first_value(void **state)
{
    (void)state;
    double value[100], smooth[100];
    for (int i = 0; i < 100; i++) value[i] = 2.5;
    assert_close(series_weight(100), 0.67, 1e-12, 0); /* floor(100 e^-0.4) / 100 */
    assert_close(series_weight(19), 0.0, 0, 0);
    series_smooth(smooth, value, 100, series_weight(100));
    for (int i = 0; i < 100; i++) assert_close(smooth[i], 2.5, 1e-12, 0);
}

static void thinning_keeps_ends_and_every_spike(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    double value[COUNT];
    for (int spike = 0; spike < COUNT; spike += 7) {
        for (int i = 0; i < COUNT; i++) value[i] = sin(i * 0.37);
        value[spike] = spike % 2 == 0 ? 5.0 : -5.0;
        int index[SERIES_POINTS], found = 0;
        const int kept = series_thin(index, 60, value, COUNT);
        assert_true(kept <= 60 && kept > 50);
        assert_int_equal(index[0], 0);
        assert_int_equal(index[kept - 1], COUNT - 1);
        for (int i = 0; i < kept; i++) {
            if (i > 0) assert_true(index[i] > index[i - 1]);
            found += index[i] == spike;
        }
        assert_int_equal(found, 1);
    }
}

static void few_values_are_all_kept(void **state)
{
    (void)state;
    double value[SERIES_POINTS + 1] = {0};
    int index[SERIES_POINTS];
    assert_int_equal(series_thin(index, SERIES_POINTS, value, SERIES_POINTS), SERIES_POINTS);
    assert_int_equal(index[SERIES_POINTS - 1], SERIES_POINTS - 1);
    assert_true(series_thin(index, SERIES_POINTS, value, SERIES_POINTS + 1) <= SERIES_POINTS);
    assert_int_equal(series_thin(index, SERIES_POINTS, value, 0), 0);
}

static void a_band_spans_the_runs_that_have_a_step(void **state)
{
    (void)state;
    double first_step[] = {1, 2, 4}, first[] = {1.0, 5.0, 2.0};
    double other_step[] = {2, 3, 4, 9}, other[] = {3.0, 7.0, 8.0, -1.0};
    const Series a = {3, first_step, first, first}, b = {4, other_step, other, other};
    SeriesBand band;
    assert_ok(series_band(&band, (const Series *const[]){&a, &b}, 2));
    const double step[] = {1, 2, 3, 4, 9}, mean[] = {1, 4, 7, 5, -1};
    const double low[] = {1, 3, 7, 2, -1}, high[] = {1, 5, 7, 8, -1};
    assert_int_equal(band.count, 5);
    for (int i = 0; i < 5; i++) {
        assert_close(band.step[i], step[i], 0, 0);
        assert_close(band.mean[i], mean[i], 1e-12, 0);
        assert_close(band.low[i], low[i], 0, 0);
        assert_close(band.high[i], high[i], 0, 0);
    }
    series_band_free(&band);
}

/* ---- runs ---- */

/* A folder with config.json of these settings and nothing else. */
static void make_run(char path[128], const char *folder, const char *name, const char *config)
{
    char file[160];
    snprintf(path, 128, "%s/%s", folder, name);
    assert_ok(io_make_folder(path));
    snprintf(file, sizeof file, "%s/config.json", path);
    assert_ok(io_publish(file, config, strlen(config)));
}

static void runs_group_by_settings_apart_from_the_seed(void **state)
{
    (void)state;
    char folder[64], path[4][128];
    Report report;
    test_folder(folder);
    make_run(path[0], folder, "a", "{\"seed\": 1, \"ppo\": {\"kl_coef\": 0.05}}");
    make_run(path[1], folder, "b", "{\"seed\": 2, \"ppo\": {\"kl_coef\": 0.1, \"epochs\": 3}}");
    make_run(path[2], folder, "c", "{\"seed\": 3, \"ppo\": {\"kl_coef\": 0.05}}");
    make_run(path[3], folder, "a/", "{\"seed\": 1, \"ppo\": {\"kl_coef\": 0.05}}");
    assert_ok(report_read(&report, (const char *const[]){path[0], path[1], path[2]}, 3));
    assert_int_equal(report.groups, 2);
    assert_int_equal(report.run[0].group, 0);
    assert_int_equal(report.run[1].group, 1);
    assert_int_equal(report.run[2].group, 0);
    assert_int_equal(report.group[0].runs, 2);
    assert_non_null(strstr(report.group[0].label, "kl_coef=0.05"));
    assert_non_null(strstr(report.group[1].label, "kl_coef=0.1"));
    assert_non_null(strstr(report.group[1].label, "epochs=3"));
    assert_null(strstr(report.group[1].label, "seed"));
    assert_string_equal(report.run[2].name, "c");
    report_free(&report);
    /* The same name twice: whole paths. */
    assert_ok(report_read(&report, (const char *const[]){path[0], path[3]}, 2));
    assert_string_equal(report.run[1].name, path[0]);
    assert_string_equal(report.group[0].label, "2 seeds");
    report_free(&report);
}

static void what_is_no_run_is_refused(void **state)
{
    (void)state;
    char folder[64];
    Report report;
    test_folder(folder);
    assert_fails(report_read(&report, (const char *const[]){folder}, 1), STATUS_DATA,
                 "config.json: missing");
    report_free(&report);
}

/* ---- verdicts ---- */

static PolicyScore policy(const char *name, double gold, double score)
{
    PolicyScore of = {.gold = {gold, 0.05, 2.0}, .score = {score, 0.05, 1.0}};
    snprintf(of.name, sizeof of.name, "%s", name);
    return of;
}

static VerdictKind kind_of(double gold, double score)
{
    ReportRun run = {.scored = true, .card = {.count = 2}};
    run.card.policy[0] = policy("sft", 1.0, 0.0);
    run.card.policy[1] = policy("ppo", gold, score);
    return verdict_of(&run).kind;
}

static void verdicts_weigh_gold_against_its_error(void **state)
{
    (void)state;
    assert_int_equal(kind_of(3.0, 1.0), VERDICT_LEARNED);
    assert_int_equal(kind_of(1.1, 1.0), VERDICT_NOT_LEARNED); /* 0.05 sigma, error 0.035 */
    assert_int_equal(kind_of(0.5, 1.0), VERDICT_OVER_OPTIMISED);
    assert_int_equal(kind_of(0.5, 0.1), VERDICT_HARMED);
    assert_int_equal(kind_of(NAN, 1.0), VERDICT_BLIND);
    const ReportRun unfinished = {0};
    assert_int_equal(verdict_of(&unfinished).kind, VERDICT_UNFINISHED);
}

static void gold_that_falls_from_its_peak_is_told(void **state)
{
    (void)state;
    enum { STEPS = 60 };
    int64_t step[STEPS];
    char name[2][64] = {"objective/gold", "objective/scores"};
    double value[2 * STEPS];
    ReportRun run = {.scored = true, .card = {.count = 2}};
    run.card.policy[0] = policy("sft", 0.0, 0.0);
    run.card.policy[1] = policy("ppo", 1.0, 5.0);
    for (int i = 0; i < STEPS; i++) {
        step[i] = i + 1;
        value[i] = 4.0 - fabs(i - 20.0) / 10 + 0.01 * (i % 2); /* best at step 21 */
        value[STEPS + i] = i / 12.0;
    }
    run.journal[report_stage("ppo")] = (MetricColumns){STEPS, 2, step, name, value};
    const Verdict verdict = verdict_of(&run);
    assert_int_equal(verdict.kind, VERDICT_PAST_ITS_PEAK);
    assert_close(verdict.peak_step, 21.0, 1.0, 0);
    assert_close(verdict.fall.mean, (3.95 - 0.3) / 2.0, 0.05, 0); /* sigma is 2 */
    assert_close(verdict.proxy_since, 37.0 / 12.0, 0.2, 0);
    /* The proxy fell with it: not over-optimisation. */
    for (int i = 0; i < STEPS; i++) value[STEPS + i] = -i / 12.0;
    assert_int_equal(verdict_of(&run).kind, VERDICT_LEARNED);
}

static void spread_is_the_sample_deviation(void **state)
{
    (void)state;
    const double value[] = {1.0, NAN, 3.0, 5.0};
    const Estimate spread = verdict_spread(value, 4);
    assert_close(spread.mean, 3.0, 1e-12, 0);
    assert_close(spread.deviation, 2.0, 1e-12, 0);
    assert_close(spread.error, 2.0 / sqrt(3.0), 1e-12, 0);
    assert_true(isnan(verdict_spread(value, 1).deviation));
    assert_true(isnan(verdict_spread(value + 1, 1).mean));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_text_stays_text),
        cmocka_unit_test(numbers_show_four_digits_and_keep_all),
        cmocka_unit_test(an_estimate_has_the_digits_of_its_error),
        cmocka_unit_test(data_cannot_leave_its_element),
        cmocka_unit_test(the_policy_names_every_script),
        cmocka_unit_test(the_first_failure_of_a_page_remains),
        cmocka_unit_test(a_chart_places_its_points),
        cmocka_unit_test(a_chart_without_data_says_so),
        cmocka_unit_test(one_value_alone_gets_room),
        cmocka_unit_test(smoothing_is_the_weighted_mean_of_the_past),
        cmocka_unit_test(a_constant_stays_one_from_its_first_value),
        cmocka_unit_test(thinning_keeps_ends_and_every_spike),
        cmocka_unit_test(few_values_are_all_kept),
        cmocka_unit_test(a_band_spans_the_runs_that_have_a_step),
        cmocka_unit_test(runs_group_by_settings_apart_from_the_seed),
        cmocka_unit_test(what_is_no_run_is_refused),
        cmocka_unit_test(verdicts_weigh_gold_against_its_error),
        cmocka_unit_test(gold_that_falls_from_its_peak_is_told),
        cmocka_unit_test(spread_is_the_sample_deviation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
