/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's questions about its VM's GPUs: struct vgpu_monitor_command, behind the
 * slots' commands. vgpu_stub.c tells of them; the mediator answers, by the link.
 *
 * One question is at the mediator at a time; a guest that asks again meanwhile is heard
 * when that is answered, and a reset lets the answer go by. Guest memory is touched from
 * the bottom half only.
 */
#include "qemu/osdep.h"
#include "compat.h"
#include "vgpu.h"

#define COMMAND_ASK_BYTES offsetof(struct vgpu_monitor_command, done)
#define ANSWER_OFFSET     offsetof(struct vgpu_monitor_command, status)
#define ANSWER_BYTES      (offsetof(struct vgpu_monitor_command, reserved1) - ANSWER_OFFSET)

struct VGPUMonitor {
    VGPUStub *s;
    VGPULink *link;
    QEMUBH *bh;
    uint32_t tag;    /* of the last question; 0: none since the reset */
    bool commanded;  /* VGPU_REG_COMMAND was written */
    bool asking;     /* the link has a question */
    bool unwanted;   /* its answer is not for anybody any more */
    bool answer_due; /* `answer` is to be written */
    struct vgpu_monitor_command answer; /* from `status` to `text` */
};

static uint64_t field(const VGPUMonitor *m, size_t offset)
{
    return vgpu_commands_address(m->s) + VGPU_COMMANDS_BYTES + offset;
}

/* To be written by the bottom half. */
static void answer_later(VGPUMonitor *m)
{
    m->answer_due = !m->unwanted;
    m->asking = false;
    m->unwanted = false;
    qemu_bh_schedule(m->bh);
}

static void told(void *opaque, const struct vgpu_monitor *monitor)
{
    VGPUMonitor *m = opaque;

    memset(&m->answer, 0, sizeof(m->answer));
    m->answer.monitor = *monitor;
    answer_later(m);
}

static void refused(void *opaque, uint32_t status, uint64_t retry_ns, const char *text)
{
    VGPUMonitor *m = opaque;

    memset(&m->answer, 0, sizeof(m->answer));
    m->answer.status = status;
    m->answer.retry_ns = retry_ns;
    pstrcpy(m->answer.text, sizeof(m->answer.text), text);
    answer_later(m);
}

static const VGPULinkMonitorOps ops = {.told = told, .refused = refused};

/* The tag last, so that who sees it sees the rest. */
static void write_answer(VGPUMonitor *m)
{
    if (!vgpu_commands_address(m->s)) {
        return;
    }
    if (vgpu_dma_write(m->s, field(m, ANSWER_OFFSET),
                       (uint8_t *)&m->answer + ANSWER_OFFSET, ANSWER_BYTES) &&
        vgpu_dma_store32(m->s, field(m, offsetof(struct vgpu_monitor_command, done)),
                         m->tag)) {
        vgpu_interrupt(m->s, VGPU_IRQ_COMMAND);
    }
}

static bool well_formed(const struct vgpu_monitor_command *ask)
{
    static const uint8_t zeros[sizeof(ask->reserved0)];

    return ask->op == VGPU_COMMAND_MONITOR &&
           !memcmp(ask->reserved0, zeros, sizeof(zeros));
}

static void take_command(VGPUMonitor *m)
{
    struct vgpu_monitor_command ask;

    m->commanded = false;
    if (!vgpu_commands_address(m->s) ||
        !vgpu_dma_read(m->s, field(m, 0), &ask, COMMAND_ASK_BYTES) || !ask.tag ||
        ask.tag == m->tag) {
        return; /* the same tag: written twice before it was taken */
    }
    m->tag = ask.tag;
    m->asking = true;
    if (well_formed(&ask)) {
        vgpu_link_monitor(m->link, ask.gpu, ask.first, &ops, m);
    } else {
        refused(m, VGPU_BAD_MESSAGE, 0, "the command is malformed");
    }
}

static void monitor_work(void *opaque)
{
    VGPUMonitor *m = opaque;

    if (m->answer_due) {
        m->answer_due = false;
        write_answer(m);
    }
    if (m->commanded && !m->asking) {
        take_command(m);
    }
}

void vgpu_monitor_command(VGPUMonitor *m)
{
    m->commanded = true;
    qemu_bh_schedule(m->bh);
}

void vgpu_monitor_reset(VGPUMonitor *m)
{
    m->commanded = false;
    m->answer_due = false;
    m->tag = 0;
    m->unwanted = m->asking;
}

VGPUMonitor *vgpu_monitor_new(VGPUStub *s, VGPULink *link)
{
    VGPUMonitor *m = g_new0(VGPUMonitor, 1);

    m->s = s;
    m->link = link;
    m->bh = qemu_bh_new(monitor_work, m);
    return m;
}

void vgpu_monitor_free(VGPUMonitor *m)
{
    if (m) {
        qemu_bh_delete(m->bh);
        g_free(m);
    }
}
