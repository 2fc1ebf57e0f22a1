/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, headers, bodies and routes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/check.h"
#include "agent/openapi_document.h"
#include "agent/route.h"
#include "common/cleanup.h"

static int target(struct request *request, const char *text)
{
    struct vgpu_err err;

    *request = (struct request){.method = REQUEST_GET};
    return request_set_target(request, text, &err);
}

static void test_request_path_is_decoded_by_segment(void **state)
{
    struct request request;

    assert_int_equal(target(&request, "/api/v1/pools/a%2Fb%20%c3%a4+"), 0);
    assert_int_equal(request.n_segments, 4);
    assert_string_equal(request.segments[3], "a/b \xc3\xa4+");
    assert_false(request.directory);
    request_release(&request);
}

static void test_request_bad_paths_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "*",
                                      "//",
                                      "/a//b",
                                      "/.",
                                      "/..",
                                      "/a/../b",
                                      "/%2e%2e/",
                                      "/a/%2E",
                                      "/%",
                                      "/%4",
                                      "/%zz",
                                      "/%00",
                                      "/a%0ab",
                                      "/%7f",
                                      "/%ff",
                                      "/%c0%af",
                                      "/%ed%a0%80",
                                      "/%c2%85",
                                      "/%f5%80%80%80",
                                      "/1/2/3/4/5/6/7/8/9"};
    struct request request;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++) {
        assert_int_equal(target(&request, bad[i]), -EINVAL);
        request_release(&request);
    }
}

static void test_request_target_has_a_longest(void **state)
{
    char text[REQUEST_TARGET_BYTES + 2];
    struct request request;

    memset(text, 'a', sizeof(text));
    text[0] = '/';
    text[REQUEST_TARGET_BYTES] = '\0';
    assert_int_equal(target(&request, text), 0);
    request_release(&request);
    text[REQUEST_TARGET_BYTES] = 'a';
    text[REQUEST_TARGET_BYTES + 1] = '\0';
    assert_int_equal(target(&request, text), -E2BIG);
    request_release(&request);
}

static void test_request_query_is_taken_apart(void **state)
{
    static const char *const known[] = {"pool", "limit", "x", NULL};
    struct request request;
    struct vgpu_err err;
    int64_t limit = 7;
    bool flag = false;

    assert_int_equal(target(&request, "/vms?pool=a+b%3d&limit=12&x"), 0);
    assert_string_equal(request_query(&request, "pool"), "a b=");
    assert_string_equal(request_query(&request, "x"), "");
    assert_null(request_query(&request, "y"));
    assert_int_equal(request_query_known(&request, known, &err), 0);
    assert_int_equal(request_query_known(&request, known + 1, &err), -EINVAL);
    assert_int_equal(request_query_integer(&request, "limit", 1, 12, &limit, &err), 0);
    assert_int_equal(limit, 12);
    assert_int_equal(request_query_integer(&request, "limit", 1, 11, &limit, &err), -EINVAL);
    assert_int_equal(request_query_flag(&request, "x", &flag, &err), -EINVAL);
    assert_int_equal(request_query_integer(&request, "none", 1, 2, &limit, &err), 0);
    assert_int_equal(limit, 12);
    request_release(&request);
}

static void test_request_bad_queries_are_refused(void **state)
{
    static const char *const bad[] = {"/?a=1&a=2", "/?a=%", "/?%00=1", "/?a=%ff",
                                      "/?1&2&3&4&5&6&7&8&9"};
    struct request request;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++) {
        assert_int_equal(target(&request, bad[i]), -EINVAL);
        request_release(&request);
    }
}

static void test_request_decimals_have_one_form(void **state)
{
    static const char *const bad[] = {
        "", "-1", "+1", "01", "1 ", "0x1", "1e3", "64", "99999999999999999999"};
    int64_t value = -1;

    assert_true(request_decimal("0", 0, 63, &value));
    assert_int_equal(value, 0);
    assert_true(request_decimal("63", 0, 63, &value));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_false(request_decimal(bad[i], 0, 63, &value));
    assert_int_equal(value, 63);
}

static void test_request_if_match_is_one_tag_or_any(void **state)
{
    static const char *const bad[] = {"",        "\"",           "\"\"", "7",
                                      "W/\"7\"", "\"1\", \"2\"", "\"1",  "\"1\" "};
    struct request request = {.method = REQUEST_PUT};
    struct vgpu_err err;
    char longest[REQUEST_TAG_BYTES + 3] = "";

    assert_int_equal(request_set_if_match(&request, NULL, &err), 0);
    assert_int_equal(request.if_match, REQUEST_MATCH_NONE);
    assert_int_equal(request_set_if_match(&request, "*", &err), 0);
    assert_int_equal(request.if_match, REQUEST_MATCH_ANY);
    assert_int_equal(request_set_if_match(&request, "\"17\"", &err), 0);
    assert_int_equal(request.if_match, REQUEST_MATCH_TAG);
    assert_string_equal(request.tag, "17");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_int_equal(request_set_if_match(&request, bad[i], &err), -EINVAL);
    memset(longest, 'a', REQUEST_TAG_BYTES + 1);
    longest[0] = longest[REQUEST_TAG_BYTES] = '"';
    longest[REQUEST_TAG_BYTES + 1] = '\0';
    assert_int_equal(request_set_if_match(&request, longest, &err), 0);
    memset(longest, 'a', REQUEST_TAG_BYTES + 2);
    longest[0] = longest[REQUEST_TAG_BYTES + 1] = '"';
    assert_int_equal(request_set_if_match(&request, longest, &err), -EINVAL);
}

static void test_request_types_may_have_parameters(void **state)
{
    assert_true(request_type_is("application/json", "application/json"));
    assert_true(request_type_is("Application/JSON; charset=utf-8", "application/json"));
    assert_false(request_type_is("application/jsonp", "application/json"));
    assert_false(request_type_is("text/plain", "application/json"));
    assert_false(request_type_is(NULL, "application/json"));
}

static int body(const char *text)
{
    struct request request = {.method = REQUEST_PUT};
    struct vgpu_err err;
    int rc = request_set_body(&request, text, strlen(text), &err);

    request_release(&request);
    return rc;
}

static void test_request_bodies_are_json(void **state)
{
    assert_int_equal(body("{\"a\": \"[[[[[[[[[[[[[[[[[[\\\"[\"}"), 0);
    assert_int_equal(body(""), -EINVAL);
    assert_int_equal(body("{"), -EINVAL);
    assert_int_equal(body("{\"a\":1,\"a\":2}"), -EINVAL);
    assert_int_equal(body("{} x"), -EINVAL);
    assert_int_equal(body("{\"a\":\"\\u0000\"}"), -EINVAL);
    assert_int_equal(body("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"), 0);
    assert_int_equal(body("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"), -EINVAL);
}

static const struct route *route(enum request_method method, const char *text, const char **allow)
{
    struct request request;
    const struct route *found;

    assert_int_equal(target(&request, text), 0);
    request.method = method;
    *allow = NULL;
    found = route_find(&request, allow);
    request_release(&request);
    return found;
}

static void test_route_finds_by_method_and_path(void **state)
{
    const char *allow;

    assert_string_equal(route(REQUEST_GET, "/api/v1/gpus", &allow)->pattern, "api/v1/gpus");
    assert_string_equal(route(REQUEST_PUT, "/api/v1/gpus/0/pools", &allow)->pattern,
                        "api/v1/gpus/*/pools");
    assert_null(route(REQUEST_GET, "/api/v1/gpus/0/pools", &allow));
    assert_string_equal(allow, "PUT");
    assert_null(route(REQUEST_OTHER, "/api/v1/pools/A", &allow));
    assert_string_equal(allow, "GET, HEAD, PUT, PATCH, DELETE");
    assert_null(route(REQUEST_GET, "/api/v1/gpus/", &allow));
    assert_null(allow);
    assert_null(route(REQUEST_GET, "/api/v1/gpu", &allow));
    assert_null(route(REQUEST_GET, "/api/v1", &allow));
    assert_null(route(REQUEST_GET, "/api/v1/gpus/0/pools/1", &allow));
    assert_null(allow);
}

static void test_route_each_change_needs_a_role_above_read(void **state)
{
    const struct route *at;
    size_t i;

    for (i = 0; (at = route_at(i)); i++) {
        if (at->method != REQUEST_GET)
            assert_true(at->role >= ROLE_OPERATE);
        if (at->role == ROLE_NONE)
            assert_string_equal(at->pattern, "healthz");
        if (at->body != ROUTE_NO_BODY)
            assert_true(at->body_bytes > 0 && at->body_bytes <= 1024 * 1024);
    }
    assert_true(i > 30);
}

/* "/api/v1/gpus/{gpu_id}" as "api/v1/gpus/ *", without the space. */
static void pattern_of(const char *template, char *pattern)
{
    for (template ++; *template; template ++) {
        if (*template == '{') {
            *pattern++ = '*';
            template = strchr(template, '}');
        } else {
            *pattern++ = *template;
        }
    }
    *pattern = '\0';
}

static const struct route *route_of(const char *method, const char *template)
{
    static const char *const names[] = {"get", "post", "put", "patch", "delete"};
    const struct route *at;
    char pattern[128];

    pattern_of(template, pattern);
    for (size_t i = 0; (at = route_at(i)); i++)
        if (strcmp(at->pattern, pattern) == 0 && strcmp(names[at->method], method) == 0)
            return at;
    return NULL;
}

static void test_route_table_and_document_are_the_same(void **state)
{
    json_t *document = json_loads((const char *)openapi_document, 0, NULL), *methods, *operation;
    const char *template, *method;
    size_t n = 0;

    json_object_foreach (json_object_get(document, "paths"), template, methods)
        json_object_foreach (methods, method, operation) {
            const struct route *found = route_of(method, template);

            if (!found)
                fail_msg("%s %s is in the document only", method, template);
            assert_string_equal(json_string_value(json_object_get(operation, "x-role")),
                                role_name(found->role));
            assert_int_equal(json_object_get(operation, "requestBody") != NULL,
                             found->body != ROUTE_NO_BODY);
            n++;
        }
    assert_null(route_at(n));
    json_decref(document);
}

static void test_headers_that_come_twice_are_noticed(void **state)
{
    struct headers headers = {.host = NULL};

    assert_true(headers_take(&headers, "hOsT", "a"));
    assert_false(headers_take(&headers, "Cookie", "a"));
    assert_false(headers.doubled);
    assert_true(headers_take(&headers, "Host", "a"));
    assert_true(headers.doubled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_path_is_decoded_by_segment),
        cmocka_unit_test(test_request_bad_paths_are_refused),
        cmocka_unit_test(test_request_target_has_a_longest),
        cmocka_unit_test(test_request_query_is_taken_apart),
        cmocka_unit_test(test_request_bad_queries_are_refused),
        cmocka_unit_test(test_request_decimals_have_one_form),
        cmocka_unit_test(test_request_if_match_is_one_tag_or_any),
        cmocka_unit_test(test_request_types_may_have_parameters),
        cmocka_unit_test(test_request_bodies_are_json),
        cmocka_unit_test(test_route_finds_by_method_and_path),
        cmocka_unit_test(test_route_each_change_needs_a_role_above_read),
        cmocka_unit_test(test_route_table_and_document_are_the_same),
        cmocka_unit_test(test_headers_that_come_twice_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
