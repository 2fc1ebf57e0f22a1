/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a channel without a worker: the tests write the report page as one would. */
#ifndef VGPU_MEDIATOR_TEST_CHANNEL_PAIR_H
#define VGPU_MEDIATOR_TEST_CHANNEL_PAIR_H

#include <sys/mman.h>

#include "mediator/channel.h"

static inline struct vgpu_report_page *pair_open(uint32_t number, struct channel **ret_channel)
{
    const struct channel_ask ask = {.number = number,
                                    .sub_granules = 2,
                                    .comp_granules = 2,
                                    .data_bytes = 4096,
                                    .process = "test"};
    struct vgpu_report_page *report;

    assert_int_equal(channel_new(&ask, ret_channel, NULL), 0);
    report = mmap(NULL, VGPU_LEASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  (*ret_channel)->fds[VGPU_FD_REPORT], 0);
    assert_true(report != MAP_FAILED);
    return report;
}

static inline void pair_close(struct channel *channel, struct vgpu_report_page *report)
{
    munmap(report, VGPU_LEASE_BYTES);
    channel_free(channel);
}

#endif
