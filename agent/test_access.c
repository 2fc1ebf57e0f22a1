/* SPDX-License-Identifier: Apache-2.0 */
/* Who may come in: tokens, names of the host, origins, rates, connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/auth.h"
#include "agent/connections.h"
#include "agent/host.h"
#include "agent/limit.h"
#include "agent/listener.h"
#include "agent/token.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int make_directory(void **state)
{
    char *directory = strdup("/tmp/vgpu-agent-XXXXXX");

    *state = directory;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/tokens", (char *)*state);
    unlink(path);
    rmdir(*state);
    free(*state);
    return 0;
}

static void token_path(void **state, char *path, size_t size)
{
    snprintf(path, size, "%s/tokens", (char *)*state);
}

static void test_token_is_found_by_its_secret_only(void **state)
{
    char secret[TOKEN_SECRET_BYTES + 1], other[TOKEN_SECRET_BYTES + 1];
    struct tokens tokens = {.n = 0};
    struct vgpu_err err;

    assert_int_equal(tokens_add(&tokens, "ann", ROLE_OPERATE, 5, secret, &err), 0);
    assert_int_equal(tokens_add(&tokens, "bob", ROLE_READ, 6, other, &err), 0);
    assert_int_equal(strlen(secret), TOKEN_SECRET_BYTES);
    assert_string_not_equal(secret, other);
    assert_string_equal(tokens_find(&tokens, secret)->name, "ann");
    assert_string_equal(tokens_find(&tokens, other)->name, "bob");
    secret[TOKEN_SECRET_BYTES - 1] ^= 1;
    assert_null(tokens_find(&tokens, secret));
    assert_null(tokens_find(&tokens, ""));
}

static void test_token_limits_and_names(void **state)
{
    static const char *const bad[] = {"", "a b", "a/b", "\xc3\xa4",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    char secret[TOKEN_SECRET_BYTES + 1], name[16];
    struct tokens tokens = {.n = 0};
    struct vgpu_err err;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_int_equal(tokens_add(&tokens, bad[i], ROLE_READ, 0, secret, &err), -EINVAL);
    for (int i = 0; i < TOKENS_MAX; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        assert_int_equal(tokens_add(&tokens, name, ROLE_READ, 0, secret, &err), 0);
    }
    assert_int_equal(tokens_add(&tokens, "t0", ROLE_READ, 0, secret, &err), -EEXIST);
    assert_int_equal(tokens_add(&tokens, "more", ROLE_READ, 0, secret, &err), -ENOSPC);
    assert_int_equal(tokens_remove(&tokens, "t7", &err), 0);
    assert_int_equal(tokens_remove(&tokens, "t7", &err), -ENOENT);
    assert_int_equal(tokens_add(&tokens, "more", ROLE_READ, 0, secret, &err), 0);
}

static void test_token_file_keeps_no_secret(void **state)
{
    char secret[TOKEN_SECRET_BYTES + 1], path[64], text[512] = "";
    struct tokens tokens = {.n = 0}, read = {.n = 0};
    struct vgpu_err err;
    struct stat status;
    FILE *file;

    token_path(state, path, sizeof(path));
    assert_int_equal(tokens_add(&tokens, "ann", ROLE_ADMIN, 1790000000, secret, &err), 0);
    assert_int_equal(tokens_save(&tokens, path, &err), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    file = fopen(path, "r");
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    assert_null(strstr(text, secret));
    assert_null(strstr(text, secret + strlen(TOKEN_PREFIX)));
    assert_int_equal(tokens_load(&read, path, &err), 0);
    assert_memory_equal(&read.rows[0], &tokens.rows[0], sizeof(read.rows[0]));
}

static void test_token_file_open_to_others_is_refused(void **state)
{
    static const mode_t bad[] = {0602, 0604, 0620, 0601};
    struct tokens tokens = {.n = 0};
    struct vgpu_err err;
    char path[64];

    token_path(state, path, sizeof(path));
    assert_int_equal(tokens_save(&tokens, path, &err), 0);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++) {
        assert_int_equal(chmod(path, bad[i]), 0);
        assert_int_equal(tokens_load(&tokens, path, &err), -EPERM);
    }
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(tokens_load(&tokens, path, &err), 0);
}

static void test_token_lines_are_checked(void **state)
{
    static const char *const bad[] = {"ann",
                                      "ann read",
                                      "ann read " HASH,
                                      "ann root " HASH " 1",
                                      "ann none " HASH " 1",
                                      "an/n read " HASH " 1",
                                      "ann read x" HASH " 1",
                                      "ann read " HASH " -1",
                                      "ann read " HASH " 1 2",
                                      "ann read " HASH " 1\nann admin " HASH " 1"};
    struct tokens tokens;
    struct vgpu_err err;
    char many[(TOKENS_MAX + 1) * 100] = "";

    assert_int_equal(tokens_parse(&tokens, "# x\n\n  \nann read " HASH " 1\n", &err), 0);
    assert_int_equal(tokens.n, 1);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_int_equal(tokens_parse(&tokens, bad[i], &err), -EINVAL);
    for (int i = 0; i <= TOKENS_MAX; i++)
        sprintf(many + strlen(many), "t%d read " HASH " 1\n", i);
    assert_int_equal(tokens_parse(&tokens, many, &err), -ENOSPC);
    *strrchr(many, 't') = '\0';
    assert_int_equal(tokens_parse(&tokens, many, &err), 0);
}

static void test_auth_follows_the_file(void **state)
{
    char secret[TOKEN_SECRET_BYTES + 1], path[64], header[128];
    struct tokens tokens = {.n = 0};
    struct principal who, other;
    struct vgpu_err err;
    struct auth auth;

    token_path(state, path, sizeof(path));
    assert_int_equal(auth_init(&auth, path, &err), -ENOENT);
    assert_int_equal(tokens_add(&tokens, "ann", ROLE_OPERATE, 1, secret, &err), 0);
    snprintf(header, sizeof(header), "Bearer %s", secret);
    assert_false(auth_check(&auth, header, &who));
    assert_int_equal(tokens_save(&tokens, path, &err), 0);
    assert_true(auth_check(&auth, header, &who));
    assert_string_equal(who.name, "ann");
    assert_int_equal(who.role, ROLE_OPERATE);
    assert_true(auth_still(&auth, &who));
    assert_false(auth_check(&auth, NULL, &other));
    assert_false(auth_check(&auth, secret, &other));
    assert_false(auth_check(&auth, "Basic YTpi", &other));
    tokens.n = 0;
    assert_int_equal(tokens_save(&tokens, path, &err), 0);
    assert_false(auth_still(&auth, &who));
    assert_false(auth_check(&auth, header, &who));
    auth_release(&auth);
}

static void test_host_names_are_compared_without_ports(void **state)
{
    static const char *const good[] = {"localhost",  "LocalHost:8440", "127.0.0.1:1",
                                       "[::1]:8440", "[::1]",          "gpu.example:443"};
    static const char *const bad[] = {"",
                                      "localhost:",
                                      "localhost:x",
                                      "localhost.",
                                      "evil.example",
                                      "localhost@evil",
                                      "a localhost",
                                      "localhost:123456",
                                      "::1",
                                      "[::1",
                                      "127.0.0.1.evil.example",
                                      "localhost:80:80"};
    struct host_names names = {.n = 0};

    assert_true(host_names_add(&names, "localhost"));
    assert_true(host_names_add(&names, "127.0.0.1"));
    assert_true(host_names_add(&names, "::1"));
    assert_true(host_names_add(&names, "gpu.example"));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(good); i++)
        assert_true(host_allowed(&names, good[i]));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_false(host_allowed(&names, bad[i]));
}

static void test_host_names_are_limited(void **state)
{
    struct host_names names = {.n = 0};
    char name[HOST_NAME_BYTES + 1];

    assert_false(host_names_add(&names, "a:80"));
    assert_false(host_names_add(&names, "a/b"));
    memset(name, 'a', sizeof(name));
    name[HOST_NAME_BYTES] = '\0';
    assert_false(host_names_add(&names, name));
    name[HOST_NAME_BYTES - 1] = '\0';
    for (int i = 0; i < HOST_NAMES_MAX; i++)
        assert_true(host_names_add(&names, name));
    assert_false(host_names_add(&names, "b"));
}

static void test_host_origin_is_the_host(void **state)
{
    assert_true(host_origin_allowed("localhost:8440", "http://localhost:8440"));
    assert_true(host_origin_allowed("gpu.example", "https://GPU.example"));
    assert_false(host_origin_allowed("localhost:8440", "http://localhost:8441"));
    assert_false(host_origin_allowed("localhost:8440", "http://localhost"));
    assert_false(host_origin_allowed("localhost:8440", "null"));
    assert_false(host_origin_allowed("localhost:8440", ""));
    assert_false(host_origin_allowed("localhost:8440", "file://localhost:8440"));
    assert_false(host_origin_allowed("localhost:8440", "http:evil://localhost:8440"));
    assert_false(host_origin_allowed(NULL, "http://localhost"));
}

static void test_limit_lets_a_burst_and_then_the_rate(void **state)
{
    struct limit *limit = malloc(sizeof(*limit));
    unsigned wait_s = 0;

    limit_init(limit, 10, 20);
    for (int i = 0; i < 20; i++)
        assert_true(limit_take(limit, "a", 1000, &wait_s));
    assert_false(limit_take(limit, "a", 1000, &wait_s));
    assert_int_equal(wait_s, 1);
    assert_true(limit_take(limit, "b", 1000, &wait_s));
    assert_true(limit_take(limit, "a", 1000 + VGPU_NS_PER_S / 10, &wait_s));
    assert_false(limit_take(limit, "a", 1000 + VGPU_NS_PER_S / 10, &wait_s));
    free(limit);
}

static void test_limit_forgets_who_was_seen_longest_ago(void **state)
{
    struct limit *limit = malloc(sizeof(*limit));
    unsigned wait_s;
    char key[16];

    limit_init(limit, 1, 1);
    for (unsigned i = 0; i < LIMIT_ROWS; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_true(limit_take(limit, key, 1000 + i, &wait_s));
    }
    assert_false(limit_take(limit, "k0", 2000, &wait_s));
    assert_true(limit_take(limit, "new", 2000, &wait_s)); /* in the place of k1 */
    assert_false(limit_take(limit, "k0", 2000, &wait_s));
    assert_true(limit_take(limit, "k1", 2000, &wait_s));
    free(limit);
}

static bool is_shut(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_connections_that_are_late_are_ended(void **state)
{
    struct connections connections;
    struct connection *slow, *busy;
    int pairs[2][2];

    for (int i = 0; i < 2; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
    connections_init(&connections, 16, 10, 60);
    slow = connections_add(&connections, pairs[0][0], "a", 0);
    busy = connections_add(&connections, pairs[1][0], "a", 0);
    connections_enter(&connections, busy, CONNECTION_WORKING, 0);
    connections_sweep(&connections, 10 * VGPU_NS_PER_S);
    assert_false(is_shut(pairs[0][1]));
    connections_sweep(&connections, 10 * VGPU_NS_PER_S + 1);
    assert_true(is_shut(pairs[0][1]));
    assert_false(is_shut(pairs[1][1]));
    connections_enter(&connections, busy, CONNECTION_SENDING, 0);
    connections_sweep(&connections, 60 * VGPU_NS_PER_S);
    assert_false(is_shut(pairs[1][1]));
    connections_sweep(&connections, 60 * VGPU_NS_PER_S + 1);
    assert_true(is_shut(pairs[1][1]));
    connections_remove(&connections, slow);
    connections_remove(&connections, busy);
    connections_release(&connections);
    for (int i = 0; i < 4; i++)
        close(pairs[i / 2][i % 2]);
}

#define PLACES 16

static void test_connections_make_room_for_new_ones(void **state)
{
    struct connection *held[PLACES];
    struct connections connections;
    int pairs[PLACES][2];

    connections_init(&connections, PLACES, 10, 60);
    for (int i = 0; i < PLACES; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        held[i] = connections_add(&connections, pairs[i][0], "a", (uint64_t)i);
        if (i == 0)
            connections_enter(&connections, held[i], CONNECTION_STREAMING, 0);
    }
    /* One place in eight is kept free; the oldest that waits to be sent something goes. */
    assert_false(is_shut(pairs[0][1]));
    assert_true(is_shut(pairs[1][1]));
    assert_true(is_shut(pairs[2][1]));
    assert_false(is_shut(pairs[3][1]));
    for (int i = 0; i < PLACES; i++) {
        connections_remove(&connections, held[i]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    assert_int_equal(connections.n, 0);
    connections_release(&connections);
}

static void test_listener_addresses_are_numeric(void **state)
{
    static const char *const bad[] = {
        "",       ":80",     "127.0.0.1",   "127.0.0.1:",  "127.0.0.1:65536", "localhost:80",
        "::1:80", "[::1]80", "127.0.0.1:x", "127.0.0.1:-1"};
    struct vgpu_err err;
    bool loopback = false;

    assert_int_equal(listener_parse("127.1.2.3:0", &loopback, &err), 0);
    assert_true(loopback);
    assert_int_equal(listener_parse("[::1]:65535", &loopback, &err), 0);
    assert_true(loopback);
    assert_int_equal(listener_parse("0.0.0.0:80", &loopback, &err), 0);
    assert_false(loopback);
    assert_int_equal(listener_parse("[::]:80", &loopback, &err), 0);
    assert_false(loopback);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_int_equal(listener_parse(bad[i], &loopback, &err), -EINVAL);
}

#define IN_DIRECTORY(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_is_found_by_its_secret_only),
        cmocka_unit_test(test_token_limits_and_names),
        IN_DIRECTORY(test_token_file_keeps_no_secret),
        IN_DIRECTORY(test_token_file_open_to_others_is_refused),
        cmocka_unit_test(test_token_lines_are_checked),
        IN_DIRECTORY(test_auth_follows_the_file),
        cmocka_unit_test(test_host_names_are_compared_without_ports),
        cmocka_unit_test(test_host_names_are_limited),
        cmocka_unit_test(test_host_origin_is_the_host),
        cmocka_unit_test(test_limit_lets_a_burst_and_then_the_rate),
        cmocka_unit_test(test_limit_forgets_who_was_seen_longest_ago),
        cmocka_unit_test(test_connections_that_are_late_are_ended),
        cmocka_unit_test(test_connections_make_room_for_new_ones),
        cmocka_unit_test(test_listener_addresses_are_numeric),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
