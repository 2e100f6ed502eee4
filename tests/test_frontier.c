/* travel, frontier, learned: where synthetic runs went, what the page says of it, and what a
 * synthetic judge has learned. */
#include "tests/support.h"

#include "data/rng.h"
#include "scripts/rlhf/report/judged.h"
#include "scripts/rlhf/report/travel.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>

enum { STEPS = 60, COLUMNS = 3 };

/* A run whose journal says what a test wants it to say. */
typedef struct Made {
    int64_t step[STEPS];
    char name[COLUMNS][64];
    double value[COLUMNS][STEPS];
    ReportRun run;
} Made;

/* From KL 0 on, sqrt(KL) grows by `stride` a step; gold follows the curve of the paper. */
static void make_run(Made *made, double stride, double alpha, double beta, double noise)
{
    const FrontierFit curve = {.form = FRONTIER_RL, .alpha = alpha, .beta = beta};
    *made = (Made){.name = {"policy/kl_exact", "objective/gold", "objective/scores"}};
    Rng rng = rng_stream(8, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    gsl_rng source = rng_gsl(&rng);
    for (int i = 0; i < STEPS; i++) {
        const double distance = stride * i;
        made->step[i] = i + 1;
        made->value[0][i] = distance * distance;
        made->value[1][i] =
            -0.75 + frontier_reward(&curve, distance) + gsl_ran_gaussian(&source, noise);
        made->value[2][i] = 0.125 + distance;
    }
    made->value[1][0] = -0.75;
    snprintf(made->run.path, sizeof made->run.path, "/nowhere/made");
    made->run.name = "made";
    made->run.journal[report_stage("ppo")] = (MetricColumns){
        .rows = STEPS,
        .columns = COLUMNS,
        .step = made->step,
        .name = made->name,
        .value = made->value[0],
    };
}

static void the_fit_finds_what_a_run_was_made_of(void **state)
{
    (void)state;
    static Made made;
    Travel travel;
    make_run(&made, 0.1, 1.2, 0.6, 0.0);
    assert_ok(travel_read(&travel, &made.run));
    assert_int_equal(travel.ppo.count, STEPS);
    assert_close(travel.gold_zero, -0.75, 0, 0); /* no scorecard: the first step's */
    assert_close(travel.proxy_zero, 0.125, 0, 0);
    assert_close(travel.ppo.proxy[10], 1.0, 1e-12, 0);
    assert_true(travel.fitted[FIT_PPO]);
    const FrontierFit *fit = &travel.fit[FIT_PPO];
    assert_close(fit->alpha, 1.2, 1e-9, 0);
    assert_close(fit->beta, 0.6, 1e-9, 0);
    assert_close(fit->peak, exp(1), 1e-8, 0);
    assert_true(travel_turns(fit));
    /* of steps 0.1 apart the one at 2.7 is nearest to e */
    assert_int_equal(travel.ppo.label[travel.peak.middle], 28);
    assert_close(travel.peak_distance, 2.7, 1e-12, 0);
    assert_true(travel_fell(&travel.peak));
    assert_false(travel_disagrees(&travel));
    travel_free(&travel);
}

static void the_scorecard_says_where_zero_is(void **state)
{
    (void)state;
    static Made made;
    Travel travel;
    make_run(&made, 0.1, 1.2, 0.6, 0.05);
    made.run.scored = true;
    made.run.card = (Scorecard){
        .count = 1,
        .policy = {{.name = "sft", .gold = {-0.5, 0.1, 1}, .score = {0.25, 0.1, 1}}},
        .sizes = 5,
        .best = {{1, 0, {-0.4, 0.1, 1}, {0.2, 0.1, 1}},
                 {2, 0.25, {-0.4 + 0.45, 0.1, 1}, {0.7, 0.2, 1}},
                 {4, 1, {-0.4 + 0.8, 0.1, 1}, {1.2, 0.1, 1}},
                 {8, 2.25, {-0.4 + 1.05, 0.1, 1}, {1.7, 0.1, 1}},
                 {16, 4, {-0.4 + 1.2, 0.1, 1}, {2.2, 0.1, 1}}},
    };
    assert_ok(travel_read(&travel, &made.run));
    assert_close(travel.gold_zero, -0.5, 0, 0);
    assert_close(travel.proxy_zero, 0.25, 0, 0);
    assert_close(travel.ppo.gold[0], -0.25, 1e-12, 0);
    /* best-of-n starts at its own pool's mean: R(d) = d (1 - 0.2 d) */
    assert_int_equal(travel.best.count, 5);
    assert_close(travel.best.gold[0], 0, 0, 0);
    assert_close(travel.best.distance[3], 1.5, 1e-12, 0);
    assert_close(travel.best.proxy_error[1], 0.2, 0, 0);
    assert_true(travel.fitted[FIT_BEST_OF_N]);
    assert_close(travel.fit[FIT_BEST_OF_N].alpha, 1, 1e-9, 0);
    assert_close(travel.fit[FIT_BEST_OF_N].beta, 0.2, 1e-9, 0);
    assert_int_equal(travel.fit[FIT_BEST_OF_N].points, 4);
    assert_false(travel_turns(&travel.fit[FIT_BEST_OF_N])); /* at 2.5, beyond 2 */
    travel_free(&travel);
}

static void seeds_are_fitted_together(void **state)
{
    (void)state;
    static Made made[2];
    Travel runs[2], all;
    make_run(&made[0], 0.1, 1.0, 0.4, 0.0);
    make_run(&made[1], 0.1, 1.4, 0.6, 0.0);
    for (int r = 0; r < 2; r++) assert_ok(travel_read(&runs[r], &made[r].run));
    assert_ok(travel_pool(&all, runs, 2));
    assert_int_equal(all.ppo.count, 2 * STEPS);
    assert_true(all.fitted[FIT_PPO]);
    /* equal distances: the mean of the two curves */
    assert_close(all.fit[FIT_PPO].alpha, 1.2, 1e-9, 0);
    assert_close(all.fit[FIT_PPO].beta, 0.5, 1e-9, 0);
    travel_free(&all);
    for (int r = 0; r < 2; r++) travel_free(&runs[r]);
}

/* The page of one run. */
static void assert_page(Made *made, const char *part, bool there)
{
    ReportGroup group = {.label = "made", .runs = 1};
    const Report report = {.runs = 1, .groups = 1, .run = &made->run, .group = &group};
    Page page;
    page_open(&page);
    report_frontier(&page, &report);
    assert_ok(page.status);
    if ((strstr(page.html.data, part) != NULL) != there) {
        print_error("\"%s\" is %s\n", part, there ? "not there" : "there");
        fail();
    }
    page_free(&page);
}

static void what_cannot_be_fitted_is_said_and_not_drawn(void **state)
{
    (void)state;
    static Made made;
    make_run(&made, 0.1, 1.2, 0.6, 0.02);
    assert_page(&made, "class=\"dashes", true);
    assert_page(&made, "fell from there on, beyond noise", true);
    assert_page(&made, "fit turns: 2.7", true);

    make_run(&made, 0.004, 1.2, 0.6, 0.02); /* it stays where it is */
    assert_page(&made, "no fit: 0 of 60 points lie at a distance of 0.3 or more, not 4", true);
    assert_page(&made, "class=\"dashes", false);

    make_run(&made, 0.1, 0, 0, 0.3); /* nothing but noise */
    assert_page(&made, "no fit: the curve misses the points (R", true);
    assert_page(&made, "class=\"dashes", false);
    assert_page(&made, "no fall beyond noise", true);

    make_run(&made, 0.1, 1.2, 0.6, 0.02);
    made.run.journal[report_stage("ppo")].rows = 0;
    assert_page(&made, "Nothing yet: PPO has not begun.", true);
}

static void a_run_without_gold_shows_its_proxy(void **state)
{
    (void)state;
    static Made made;
    make_run(&made, 0.1, 1.2, 0.6, 0.02);
    snprintf(made.name[1], sizeof made.name[1], "objective/other");
    assert_page(&made, "no fit: the task has no gold", true);
    assert_page(&made, "class=\"points series-1\"", true);
}

static void a_curve_that_turns_elsewhere_is_not_trusted(void **state)
{
    (void)state;
    static Made made;
    make_run(&made, 0.1, 1.2, 0.6, 0.02);
    assert_page(&made, "the form does not describe them well", false);
    /* slow at first, then a roof whose top is at step 31 */
    for (int i = 0; i < STEPS; i++) {
        made.value[1][i] = i <= 30 ? 1.7 * pow(i / 30.0, 2) : 1.7 - 0.13 * (i - 30);
    }
    Travel travel;
    assert_ok(travel_read(&travel, &made.run));
    assert_true(travel_fell(&travel.peak));
    assert_close(travel.ppo.label[travel.peak.middle], 31, 1, 0);
    assert_true(travel.fitted[FIT_PPO] && travel_turns(&travel.fit[FIT_PPO]));
    assert_true(travel.fit[FIT_PPO].peak < 2.5);
    assert_true(travel_disagrees(&travel));
    travel_free(&travel);
    assert_page(&made, "In 1 of the 1 runs whose gold turned", true);
}

/* ---- what was learned ---- */

enum { ANSWERS = 3000, TERMS = 5 };

/* Scores are a known sum of the amounts, and noise; the last term is rare. */
static void make_judged(Judged *judged, const double *learned, double noise)
{
    static const GoldTerm terms[TERMS] = {
        {"good", 1}, {"bad", -1}, {"plain", 0}, {"great", 2}, {"rare", 5}};
    Rng rng = rng_stream(8, RNG_TEST, RNG_LABELLER, 0, 0, 0);
    gsl_rng source = rng_gsl(&rng);
    *judged = (Judged){.terms = TERMS};
    for (int t = 0; t < TERMS; t++) judged->term[t] = terms[t];
    for (int i = 0; i < ANSWERS; i++) {
        double amount[TERMS];
        JudgedAnswer answer = {.policy = JUDGED_SFT, .score = 0.3, .gold = 0.1, .length = 10};
        for (int t = 0; t < TERMS; t++) {
            amount[t] = t < TERMS - 1 ? rng_below(&rng, 3) : i < LEARNED_ANSWERS_MIN - 1;
            if (t < TERMS - 1) answer.score += learned[t] * amount[t];
            if (t < TERMS - 1) answer.gold += terms[t].weight * amount[t];
        }
        answer.score += gsl_ran_gaussian(&source, noise);
        assert_ok(bytes_append(&judged->answers, &answer, sizeof answer));
        assert_ok(bytes_append(&judged->amounts, amount, sizeof amount));
        judged->count++;
    }
}

static void the_regression_finds_what_a_judge_goes_by(void **state)
{
    (void)state;
    static const double weight[TERMS] = {0.5, -0.7, 0.2, 0.9};
    Judged judged;
    Learned learned;
    make_judged(&judged, weight, 0.4);
    assert_ok(judged_learn(&learned, &judged));
    assert_int_equal(learned.answers, ANSWERS);
    assert_int_equal(learned.terms, TERMS - 1);
    assert_int_equal(learned.left_out, 1);
    /* by hidden weight, falling */
    static const char *const order[] = {"great", "good", "plain", "bad"};
    static const double found[] = {0.9, 0.5, 0.2, -0.7}, hidden[] = {2, 1, 0, -1};
    for (int t = 0; t < learned.terms; t++) {
        const LearnedTerm *term = &learned.term[t];
        assert_string_equal(term->term->name, order[t]);
        assert_close(term->score.mean, found[t], 4 * term->score.error, 0);
        /* amounts 0, 1, 2 have variance 2/3 */
        assert_close(term->score.error, 0.4 / sqrt(ANSWERS * 2 / 3.0), 0, 0.1);
        assert_close(term->gold.mean, hidden[t], 1e-9, 0);
        assert_true(term->answers > ANSWERS / 2 && term->answers < ANSWERS * 4 / 5);
    }
    const double explained = (0.25 + 0.49 + 0.04 + 0.81) * 2 / 3;
    assert_close(learned.r_squared, explained / (explained + 0.16), 0.03, 0);
    assert_true(learned.correlation > 0.8 && learned.correlation < 1);
    judged_free(&judged);
}

static void a_judge_of_too_few_answers_is_not_read(void **state)
{
    (void)state;
    static const double weight[TERMS] = {0.5, -0.7, 0.2, 0.9};
    Judged judged;
    Learned learned;
    make_judged(&judged, weight, 0.4);
    judged.count = 10;
    assert_fails(judged_learn(&learned, &judged), STATUS_DATA,
                 "no term of gold is in 20 of the 10 answers");
    judged_free(&judged);
}

int main(void)
{
    gsl_set_error_handler_off();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fit_finds_what_a_run_was_made_of),
        cmocka_unit_test(the_scorecard_says_where_zero_is),
        cmocka_unit_test(seeds_are_fitted_together),
        cmocka_unit_test(what_cannot_be_fitted_is_said_and_not_drawn),
        cmocka_unit_test(a_run_without_gold_shows_its_proxy),
        cmocka_unit_test(a_curve_that_turns_elsewhere_is_not_trusted),
        cmocka_unit_test(the_regression_finds_what_a_judge_goes_by),
        cmocka_unit_test(a_judge_of_too_few_answers_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
