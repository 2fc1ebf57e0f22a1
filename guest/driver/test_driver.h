/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tests of vgpu.ko, in the order in which test_driver.c runs them; the slow ones and
 * those that want Xen only by name. test_channel.c, test_granted.c, test_process.c and
 * test_unbind.c have them.
 */
#ifndef VGPU_TEST_DRIVER_H
#define VGPU_TEST_DRIVER_H

/* clang-format off */
#define DRIVER_TESTS(TEST) \
	TEST(state, false) \
	TEST(open_close, false) \
	TEST(default_sizes, false) \
	TEST(second_open_is_refused, false) \
	TEST(nothing_before_open, false) \
	TEST(mmap_bounds, false) \
	TEST(mmap_private_and_exec, false) \
	TEST(doorbell_is_ones_own, false) \
	TEST(populate_bounds, false) \
	TEST(memory_is_fresh, false) \
	TEST(hostile_open, false) \
	TEST(hostile_ioctls, false) \
	TEST(open_into_read_only_memory, false) \
	TEST(write_is_for_grants, false) \
	TEST(read_and_poll, false) \
	TEST(read_blocks, false) \
	TEST(monitor, false) \
	TEST(monitor_into_read_only_memory, false) \
	TEST(monitor_by_many, false) \
	TEST(eventfd, false) \
	TEST(gone_is_told, false) \
	TEST(fork_has_no_mapping, false) \
	TEST(processes_are_apart, false) \
	TEST(users_reach_only_the_node, false) \
	TEST(file_outlives_its_opener, false) \
	TEST(killed_at_any_moment, false) \
	TEST(direct_io, false) \
	TEST(pinned_pages_outlive_the_channel, false) \
	TEST(memory_is_charged, false) \
	TEST(window_mappings_move, false) \
	TEST(window_full_is_relayed, false) \
	TEST(unbind_with_an_open_channel, false) \
	TEST(unbind_while_programs_touch, false) \
	TEST(unbind_while_programs_open, false) \
	TEST(module_comes_and_goes, false) \
	TEST(module_without_the_window, false) \
	TEST(all_channels_and_one_more, true) \
	TEST(silent_device_is_reset, true) \
	TEST(granted_memory_is_shared, true) \
	TEST(granted_kicks, true) \
	TEST(granted_interface, true) \
	TEST(granted_default_size, true) \
	TEST(granted_too_large, true) \
	TEST(granted_until_there_are_none, true) \
	TEST(granted_killed_at_any_moment, true) \
	TEST(granted_gone_is_told, true) \
	TEST(granted_backend_closes, true)
/* clang-format on */

#define DECLARE(name, slow) void test_driver_##name(void);
DRIVER_TESTS(DECLARE)
#undef DECLARE

#endif
