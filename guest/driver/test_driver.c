/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of vgpu.ko, run by root inside a guest that has the device, a mediator behind it, and two
 * virtual CPUs (tests/vm/test_vm_driver.py). Speaks to the driver without libvgpu.
 *
 *   test_driver           all but those that wait for seconds
 *   test_driver NAME...   these
 *
 * Prints one line for each test, "ok N - name" or "not ok N - name: why", as TAP has it. Each test
 * runs in a process of its own and leaves the driver as it found it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_driver.h"
#include "test_support.h"

static const struct test {
	const char *name;
	void (*run)(void);
	bool slow;
} tests[] = {
#define TEST(name, slow) { #name, test_driver_##name, slow },
	DRIVER_TESTS(TEST)
#undef TEST
};
#define TESTS (sizeof(tests) / sizeof(tests[0]))

static bool chosen(const struct test *test, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], test->name) == 0)
			return true;
	return argc == 1 && !test->slow;
}

int main(int argc, char **argv)
{
	unsigned number = 0, failed = 0;

	for (size_t i = 0; i < TESTS; i++) {
		uint64_t start = now_ms();
		pid_t pid;
		int status;

		if (!chosen(&tests[i], argc, argv))
			continue;
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			alarm(90);
			tests[i].run();
			exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 2;
		failed += status != 0;
		printf("%s %u - %s (%llu ms, status %#x)\n", status == 0 ? "ok" : "not ok",
		       ++number, tests[i].name, (unsigned long long)(now_ms() - start), status);
	}
	printf("1..%u\n", number);
	return failed || !number ? 1 : 0;
}
