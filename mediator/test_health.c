/* SPDX-License-Identifier: Apache-2.0 */
/* health.c and xid.c: states from samples, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mediator/health.h"
#include "mediator/xid.h"

struct patient {
    struct health health;
    struct health_intent intent;
    struct health_sample sample;
    int64_t now_s;
};

/* Present, and well by NVML's first word. */
static int setup(void **state)
{
    struct patient *p = calloc(1, sizeof(*p));

    health_init(&p->health);
    p->now_s = 1000;
    p->intent = p->health.intent;
    p->intent.present = true;
    health_configure(&p->health, &p->intent, p->now_s);
    health_sample_init(&p->sample);
    p->sample.listed = true;
    p->sample.temperature = 40;
    p->sample.ecc_corrected = p->sample.ecc_uncorrected = 0;
    health_take(&p->health, &p->sample, p->now_s);
    assert_int_equal(p->health.state, HEALTH_OK);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static enum health_state take(struct patient *p)
{
    p->now_s++;
    health_take(&p->health, &p->sample, p->now_s);
    p->sample.n_xids = 0;
    return p->health.state;
}

static enum health_state at(struct patient *p, double celsius)
{
    p->sample.temperature = celsius;
    return take(p);
}

static enum health_state xid(struct patient *p, uint32_t number)
{
    p->sample.n_xids = 1;
    p->sample.xids[0] = number;
    return take(p);
}

static enum health_state rule(struct patient *p, enum threshold_id id, double value,
                              enum threshold_action action)
{
    p->intent.rules[id] = (struct threshold_rule){value, action};
    health_configure(&p->health, &p->intent, ++p->now_s);
    return p->health.state;
}

static bool says(const struct patient *p, const char *part)
{
    char texts[HEALTH_REASONS_MAX][HEALTH_REASON_BYTES];
    unsigned n = health_reasons(&p->health, texts);

    for (unsigned i = 0; i < n; i++)
        if (strstr(texts[i], part))
            return true;
    return false;
}

static void test_health_moves_are_never_to_itself(void **state)
{
    for (int s = 0; s < HEALTH_N_STATES; s++)
        assert_false(health_may_move(s, s));
    assert_false(health_may_move(HEALTH_UNHEALTHY, HEALTH_UNKNOWN));
    assert_true(health_may_move(HEALTH_UNHEALTHY, HEALTH_OK));
}

static void test_health_states_allow_less_and_less(void **state)
{
    static const enum health_state serving[] = {HEALTH_UNKNOWN, HEALTH_OK, HEALTH_WARNING};
    static const enum health_state still[] = {HEALTH_STOPPED, HEALTH_UNHEALTHY, HEALTH_MISSING};

    for (int i = 0; i < 3; i++) {
        assert_true(health_takes_channels(serving[i]) && health_takes_leases(serving[i]));
        assert_false(health_takes_channels(still[i]) || health_takes_leases(still[i]));
    }
    assert_false(health_takes_channels(HEALTH_DRAINING));
    assert_true(health_takes_leases(HEALTH_DRAINING));
}

static void test_health_is_unknown_before_the_first_word(void **state)
{
    struct health health;
    struct health_intent intent;

    health_init(&health);
    assert_int_equal(health.state, HEALTH_MISSING);
    intent = health.intent;
    intent.present = true;
    assert_true(health_configure(&health, &intent, 5));
    assert_int_equal(health.state, HEALTH_UNKNOWN);
    assert_int_equal(health.since_s, 5);
}

static void test_health_temperature_at_its_limits(void **state)
{
    struct patient *p = *state;

    assert_int_equal(at(p, 84), HEALTH_OK);
    assert_int_equal(at(p, 85), HEALTH_WARNING);
    assert_int_equal(at(p, 89), HEALTH_WARNING);
    assert_int_equal(at(p, 90), HEALTH_STOPPED);
    assert_int_equal(at(p, 91), HEALTH_STOPPED);
    assert_true(says(p, "temperature: 91 C, the limit is 90 C (temperature-hot)"));
    assert_int_equal(p->health.since_s, p->now_s - 1);
}

static void test_health_a_value_at_the_limit_does_not_flap(void **state)
{
    struct patient *p = *state;
    unsigned changes = 0;

    assert_int_equal(at(p, 90), HEALTH_STOPPED);
    for (int i = 0; i < 100; i++) {
        p->sample.temperature = i % 2 ? 90 : 89;
        changes += health_take(&p->health, &p->sample, ++p->now_s);
    }
    assert_int_equal(changes, 0);
    assert_int_equal(at(p, 88), HEALTH_STOPPED);
    assert_int_equal(at(p, 87), HEALTH_WARNING);
    assert_int_equal(at(p, 83), HEALTH_WARNING);
    assert_int_equal(at(p, 82), HEALTH_OK);
}

static void test_health_temperature_that_is_not_told_any_more_stays(void **state)
{
    struct patient *p = *state;
    struct health_sample nothing;

    assert_int_equal(at(p, 95), HEALTH_STOPPED);
    health_sample_init(&nothing);
    nothing.listed = true;
    assert_false(health_take(&p->health, &nothing, ++p->now_s));
    assert_int_equal(p->health.state, HEALTH_STOPPED);
    assert_int_equal(at(p, 50), HEALTH_OK);
}

static void test_health_thresholds_change_live(void **state)
{
    struct patient *p = *state;

    assert_int_equal(at(p, 70), HEALTH_OK);
    assert_int_equal(rule(p, THRESHOLD_TEMPERATURE_HOT, 70, THRESHOLD_STOP), HEALTH_STOPPED);
    assert_int_equal(rule(p, THRESHOLD_TEMPERATURE_HOT, 70, THRESHOLD_DRAIN), HEALTH_DRAINING);
    assert_int_equal(rule(p, THRESHOLD_TEMPERATURE_HOT, 70, THRESHOLD_IGNORE), HEALTH_OK);
    assert_int_equal(rule(p, THRESHOLD_TEMPERATURE_HOT, 70, THRESHOLD_STOP), HEALTH_STOPPED);
    /* Within the hysteresis of the new limit, which it has not reached. */
    assert_int_equal(rule(p, THRESHOLD_TEMPERATURE_HOT, 71, THRESHOLD_STOP), HEALTH_OK);
}

static void test_health_memory_temperature_and_slowdown(void **state)
{
    struct patient *p = *state;

    p->sample.temperature_memory = 105;
    assert_int_equal(take(p), HEALTH_STOPPED);
    p->sample.temperature_memory = 50;
    p->sample.slowdown = 1;
    assert_int_equal(take(p), HEALTH_WARNING);
    p->sample.slowdown = 0;
    assert_int_equal(take(p), HEALTH_OK);
}

static void test_health_ecc_error_drains_until_a_reset(void **state)
{
    struct patient *p = *state;

    p->sample.ecc_corrected = 999;
    assert_int_equal(take(p), HEALTH_OK);
    p->sample.ecc_corrected = 1000;
    assert_int_equal(take(p), HEALTH_WARNING);
    p->sample.ecc_uncorrected = 1;
    assert_int_equal(take(p), HEALTH_DRAINING);
    assert_true(health_is_suspect(&p->health));
    assert_int_equal(p->health.resets, 0);
    p->sample.ecc_corrected = p->sample.ecc_uncorrected = 0;
    assert_int_equal(take(p), HEALTH_OK);
    assert_int_equal(p->health.resets, 1);
    assert_false(health_is_suspect(&p->health));
}

static void test_health_resume_accepts_errors_so_far(void **state)
{
    struct patient *p = *state;

    p->sample.ecc_uncorrected = 2;
    assert_int_equal(take(p), HEALTH_DRAINING);
    assert_true(health_resume(&p->health, ++p->now_s));
    assert_int_equal(p->health.state, HEALTH_OK);
    assert_int_equal(take(p), HEALTH_OK);
    p->sample.ecc_uncorrected = 3;
    assert_int_equal(take(p), HEALTH_DRAINING);
    p->sample.ecc_uncorrected = 0; /* a reset: what was accepted counts no more */
    assert_int_equal(take(p), HEALTH_OK);
    p->sample.ecc_uncorrected = 1;
    assert_int_equal(take(p), HEALTH_DRAINING);
}

static void test_health_rows_that_wait_or_fail(void **state)
{
    struct patient *p = *state;

    p->sample.remap_pending = 1;
    assert_int_equal(take(p), HEALTH_WARNING);
    p->sample.remap_failure = 1;
    assert_int_equal(take(p), HEALTH_DRAINING);
    assert_true(says(p, "remap-failure"));
    assert_true(says(p, "remap-pending"));
}

static void test_health_xids_of_programs_say_nothing(void **state)
{
    struct patient *p = *state;
    static const uint32_t own[] = {13, 31, 43, 45, 68, 69, 999};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        assert_int_equal(xid(p, own[i]), HEALTH_OK);
        assert_int_equal(p->health.last_xid, own[i]);
        assert_int_equal(p->health.last_xid_s, p->now_s);
        assert_false(health_is_suspect(&p->health));
    }
}

static void test_health_xids_of_the_hardware_stay_until_resumed(void **state)
{
    struct patient *p = *state;
    static const uint32_t errors[] = {46, 48, 62, 64, 74, 109, 119, 120, 140};
    static const uint32_t warnings[] = {61, 63, 92, 94};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        assert_int_equal(xid(p, errors[i]), HEALTH_DRAINING);
        assert_int_equal(take(p), HEALTH_DRAINING);
        assert_true(says(p, xid_text(errors[i])));
        assert_true(health_is_suspect(&p->health));
        health_resume(&p->health, p->now_s);
        assert_int_equal(p->health.state, HEALTH_OK);
    }
    for (size_t i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++) {
        assert_int_equal(xid(p, warnings[i]), HEALTH_WARNING);
        health_resume(&p->health, p->now_s);
        assert_int_equal(p->health.state, HEALTH_OK);
    }
}

static void test_health_xid_threshold_counts(void **state)
{
    struct patient *p = *state;

    assert_int_equal(rule(p, THRESHOLD_XID_ERROR, 3, THRESHOLD_STOP), HEALTH_OK);
    assert_int_equal(xid(p, 48), HEALTH_OK);
    assert_int_equal(xid(p, 48), HEALTH_OK);
    assert_int_equal(xid(p, 74), HEALTH_STOPPED);
    assert_true(says(p, "XID 74"));
}

static void test_health_fatal_xid_ends_with_a_reset_or_an_administrator(void **state)
{
    struct patient *p = *state;

    assert_int_equal(xid(p, 79), HEALTH_UNHEALTHY);
    assert_int_equal(p->health.xids_heard[XID_FATAL], 1);
    assert_false(health_is_gone(&p->health));
    assert_int_equal(take(p), HEALTH_UNHEALTHY);
    health_was_reset(&p->health, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_OK);
    assert_int_equal(p->health.resets, 1);
    assert_int_equal(xid(p, 95), HEALTH_UNHEALTHY);
    assert_int_equal(p->health.xids_heard[XID_FATAL], 2);
    /* Nobody knows how it is: that is no time to say that it is well. */
    health_fall_silent(&p->health, NULL, ++p->now_s);
    health_resume(&p->health, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_UNHEALTHY);
    assert_int_equal(take(p), HEALTH_UNHEALTHY);
    health_resume(&p->health, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_OK);
}

static void test_health_lost_gpu_is_unhealthy_until_it_answers(void **state)
{
    struct patient *p = *state;
    struct health_sample lost;

    xid(p, 48);
    health_sample_init(&lost);
    lost.listed = lost.lost = true;
    health_take(&p->health, &lost, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_UNHEALTHY);
    assert_true(health_is_gone(&p->health));
    assert_true(health_is_suspect(&p->health));
    health_resume(&p->health, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_UNHEALTHY);
    /* It can only have come back by a reset. */
    assert_int_equal(take(p), HEALTH_OK);
    assert_int_equal(p->health.resets, 1);
    lost.lost = false;
    lost.reset_required = true;
    health_take(&p->health, &lost, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_UNHEALTHY);
    assert_true(says(p, "must be reset"));
}

static void test_health_follows_what_nvml_advises(void **state)
{
    struct patient *p = *state;

    p->sample.recovery = HEALTH_RECOVERY_DRAIN;
    assert_int_equal(take(p), HEALTH_DRAINING);
    p->sample.recovery = HEALTH_RECOVERY_RESET;
    assert_int_equal(take(p), HEALTH_UNHEALTHY);
    p->sample.recovery = HEALTH_RECOVERY_REBOOT;
    assert_int_equal(take(p), HEALTH_UNHEALTHY);
    assert_true(says(p, "restart the host"));
    p->sample.recovery = HEALTH_RECOVERY_NONE;
    assert_int_equal(take(p), HEALTH_OK);
}

static void test_health_silence_is_unknown_where_nothing_was_wrong(void **state)
{
    struct patient *p = *state;

    assert_true(health_fall_silent(&p->health, NULL, 2000));
    assert_int_equal(p->health.state, HEALTH_UNKNOWN);
    assert_int_equal(p->health.since_s, 2000);
    assert_true(says(p, "NVML does not answer"));
    assert_false(health_fall_silent(&p->health, NULL, 2001));
    assert_int_equal(p->health.since_s, 2000);
    assert_int_equal(take(p), HEALTH_OK);
    assert_false(says(p, "NVML does not answer"));
}

static void test_health_silence_ends_no_other_state(void **state)
{
    struct patient *p = *state;

    assert_int_equal(at(p, 95), HEALTH_STOPPED);
    assert_false(health_fall_silent(&p->health, "no NVML", ++p->now_s));
    assert_false(health_fall_silent(&p->health, NULL, ++p->now_s));
    assert_int_equal(p->health.state, HEALTH_STOPPED);
    assert_true(says(p, "no NVML"));
    p->sample.lost = true;
    assert_int_equal(take(p), HEALTH_UNHEALTHY);
    assert_false(health_fall_silent(&p->health, NULL, ++p->now_s));
}

static void test_health_administrator_drains_and_resumes(void **state)
{
    struct patient *p = *state;

    p->intent.drained = true;
    strcpy(p->intent.drain_reason, "new fans");
    assert_true(health_configure(&p->health, &p->intent, ++p->now_s));
    assert_int_equal(p->health.state, HEALTH_DRAINING);
    assert_true(says(p, "drained: new fans"));
    assert_false(health_is_suspect(&p->health));
    assert_int_equal(at(p, 95), HEALTH_STOPPED); /* the more severe one counts */
    assert_int_equal(at(p, 40), HEALTH_DRAINING);
    p->intent.drained = false;
    assert_true(health_configure(&p->health, &p->intent, ++p->now_s));
    assert_int_equal(p->health.state, HEALTH_OK);
}

static void test_health_gpu_that_is_not_there(void **state)
{
    struct patient *p = *state;

    p->intent.present = false;
    health_configure(&p->health, &p->intent, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_MISSING);
    p->intent.present = true;
    health_configure(&p->health, &p->intent, ++p->now_s);
    assert_int_equal(p->health.state, HEALTH_OK);
    p->sample.listed = false;
    assert_int_equal(take(p), HEALTH_MISSING);
    assert_true(says(p, "NVML does not show it"));
    p->sample.listed = true;
    assert_int_equal(take(p), HEALTH_OK);
    assert_int_equal(p->health.resets, 0);
}

static void test_health_reasons_are_bounded(void **state)
{
    struct patient *p = *state;
    char texts[HEALTH_REASONS_MAX][HEALTH_REASON_BYTES];

    p->sample.temperature = p->sample.temperature_memory = 150;
    p->sample.ecc_corrected = p->sample.ecc_uncorrected = 1000000;
    p->sample.remap_failure = p->sample.remap_pending = 1;
    p->sample.slowdown = 3;
    p->sample.recovery = HEALTH_RECOVERY_REBOOT;
    p->sample.lost = p->sample.reset_required = true;
    p->sample.n_xids = 3;
    p->sample.xids[0] = 63;
    p->sample.xids[1] = 48;
    p->sample.xids[2] = 79;
    p->intent.drained = true;
    memset(p->intent.drain_reason, 'x', HEALTH_DRAIN_BYTES - 1);
    health_configure(&p->health, &p->intent, ++p->now_s);
    assert_int_equal(take(p), HEALTH_UNHEALTHY);
    health_fall_silent(&p->health, NULL, ++p->now_s);
    assert_true(health_reasons(&p->health, texts) <= HEALTH_REASONS_MAX);
    assert_string_equal(texts[0], "it is lost: it has fallen off its bus");
    assert_true(says(p, "NVML does not answer"));
}

static void test_health_xid_errors_are_recalled(void **state)
{
    struct patient *p = *state;
    struct health later;

    xid(p, 63);
    xid(p, 48);
    assert_int_equal(xid(p, 74), HEALTH_DRAINING);
    later = p->health;
    later.xid_errors = later.xid_warnings = later.xid_error = later.xid_warning = 0;
    health_recall_errors(&later, health_errors(&p->health), ++p->now_s);
    assert_int_equal(later.state, HEALTH_DRAINING);
    assert_int_equal(later.xid_errors, 2);
    assert_int_equal(later.xid_error, 74);
    assert_int_equal(later.xid_warnings, 1);
    assert_int_equal(later.xid_warning, 63);
    xid(p, 79);
    health_recall_errors(&later, health_errors(&p->health), ++p->now_s);
    assert_int_equal(later.state, HEALTH_UNHEALTHY);
    /* As many as fit. */
    p->health.xid_errors = UINT32_MAX;
    health_recall_errors(&later, health_errors(&p->health), ++p->now_s);
    assert_int_equal(later.xid_errors, 0x3fff);
    assert_int_equal(later.xid_fatal, 79);
    assert_int_equal(later.xid_warnings, 1);
    health_resume(&p->health, p->now_s);
    assert_int_equal(health_errors(&p->health) >> 36, 0);
}

/* Random samples, settings and resets: no illegal move (an assertion), and never a flap. */
static void test_health_never_moves_illegally(void **state)
{
    struct patient *p = *state;
    unsigned seed = 7;

    for (int i = 0; i < 20000; i++) {
        unsigned r = (unsigned)rand_r(&seed);

        p->now_s++;
        switch (r % 8) {
        case 0:
            health_fall_silent(&p->health, r & 256 ? NULL : "no NVML", p->now_s);
            break;
        case 1:
            health_resume(&p->health, p->now_s);
            break;
        case 2:
            health_was_reset(&p->health, p->now_s);
            break;
        case 3:
            p->intent.present = (r & 0x700) != 0;
            p->intent.drained = (r & 0x3000) == 0;
            p->intent.rules[r >> 16 & 7].action = (enum threshold_action)(r >> 20 & 3);
            health_configure(&p->health, &p->intent, p->now_s);
            break;
        default:
            p->sample.listed = (r & 0xf00) != 0;
            p->sample.lost = (r & 0xf000) == 0;
            p->sample.reset_required = (r & 0xf0000) == 0;
            p->sample.temperature = 30 + (r >> 8 & 63);
            p->sample.ecc_uncorrected = r >> 10 & 1;
            p->sample.recovery = (enum health_recovery)((int)(r >> 12 & 7) % 5 - 1);
            p->sample.n_xids = (r >> 24 & 3) == 0;
            p->sample.xids[0] = 40 + (r >> 16 & 63);
            health_take(&p->health, &p->sample, p->now_s);
            break;
        }
        if (p->health.state == HEALTH_OK)
            assert_false(says(p, ""));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_health_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_moves_are_never_to_itself),
        cmocka_unit_test(test_health_states_allow_less_and_less),
        cmocka_unit_test(test_health_is_unknown_before_the_first_word),
        TEST(temperature_at_its_limits),
        TEST(a_value_at_the_limit_does_not_flap),
        TEST(temperature_that_is_not_told_any_more_stays),
        TEST(thresholds_change_live),
        TEST(memory_temperature_and_slowdown),
        TEST(ecc_error_drains_until_a_reset),
        TEST(resume_accepts_errors_so_far),
        TEST(rows_that_wait_or_fail),
        TEST(xids_of_programs_say_nothing),
        TEST(xids_of_the_hardware_stay_until_resumed),
        TEST(xid_threshold_counts),
        TEST(fatal_xid_ends_with_a_reset_or_an_administrator),
        TEST(lost_gpu_is_unhealthy_until_it_answers),
        TEST(follows_what_nvml_advises),
        TEST(silence_is_unknown_where_nothing_was_wrong),
        TEST(silence_ends_no_other_state),
        TEST(administrator_drains_and_resumes),
        TEST(gpu_that_is_not_there),
        TEST(xid_errors_are_recalled),
        TEST(reasons_are_bounded),
        TEST(never_moves_illegally),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
