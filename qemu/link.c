/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to the mediator, by QEMU's socket chardev: HELLO, OPEN one at a time,
 * CLOSE, RESUME of what was open when a connection is lost, and what the mediator says
 * unasked. docs/spec/wire.md is the protocol; vgpu_stub.c, slots.c and job.c use it.
 *
 * Never waits for the mediator, but for at most 5 s in realize: what is sent goes to a
 * queue whose size covers all that can be under way, and a connection that does not take
 * it, or that speaks nonsense, is dropped. There is at most one message with descriptors
 * under way. Callbacks to the channels' owners come from the main loop, never from within
 * a call of theirs.
 */
#include "qemu/osdep.h"
#include "link_parts.h"

#define RETRY_NS   1000000000ull
#define OPENED_FDS 3
#define MAX_FDS    16

/* What a guest reads of the link */

void vgpu_link_set_state(VGPULink *link, enum vgpu_device_state state, uint32_t error,
                         const char *text)
{
    VGPULinkState *now = &link->state;

    if (now->state == state && now->error == error &&
        strcmp(now->error_text, text) == 0) {
        return;
    }
    now->state = state;
    now->error = error;
    memset(now->error_text, 0, sizeof(now->error_text));
    pstrcpy(now->error_text, sizeof(now->error_text), text);
    now->generation++;
    if (state == VGPU_DEVICE_READY) {
        info_report("vgpu-stub: vm %" PRIu32 " (%s) is served by pool %s", now->vm_id,
                    now->name, now->pool);
    } else if (state != VGPU_DEVICE_CONNECTING && !link->in_realize) {
        warn_report("vgpu-stub: %s", text);
    }
    vgpu_interrupt(link->s, VGPU_IRQ_STATE);
}

static void copy_text(char *to, size_t size, const char *from)
{
    memset(to, 0, size);
    pstrcpy(to, size, from);
}

/* Sending */

static void drop(VGPULink *link, const char *why)
{
    if (!link->drop) {
        warn_report("vgpu-stub: the connection to the mediator is dropped: %s", why);
        link->drop = true;
        link->phase = LINK_DOWN;
        qemu_bh_schedule(link->bh);
    }
}

static gboolean writable(VGPUWatchSource *unused, GIOCondition condition, void *opaque);

static void flush(VGPULink *link)
{
    int n = link->queued ? qemu_chr_fe_write(link->chr, link->queue, link->queued) : 0;

    if (n > 0) {
        link->queued -= n;
        memmove(link->queue, link->queue + n, link->queued);
    }
    if (!link->queued || link->watch) {
        return;
    }
    if (link->in_realize) {
        drop(link, "it does not take a greeting");
        return;
    }
    link->watch = qemu_chr_fe_add_watch(link->chr, G_IO_OUT | G_IO_HUP, writable, link);
}

static gboolean writable(VGPUWatchSource *unused, GIOCondition condition, void *opaque)
{
    VGPULink *link = opaque;

    link->watch = 0;
    flush(link);
    return FALSE;
}

static uint32_t new_tag(VGPULink *link)
{
    if (++link->last_tag == 0) {
        link->last_tag = 1;
    }
    return link->last_tag;
}

/* `msg` begins with its head, of which flags count; returns the tag. */
static uint32_t send_msg(VGPULink *link, void *msg, uint32_t size, uint16_t type)
{
    struct vgpu_msg *head = msg;

    *head = (struct vgpu_msg){
        .size_bytes = size, .type = type, .flags = head->flags, .tag = new_tag(link)};
    if (size > QUEUE_BYTES - link->queued) {
        drop(link, "it does not take what it is sent");
        return head->tag;
    }
    memcpy(link->queue + link->queued, msg, size);
    link->queued += size;
    flush(link);
    return head->tag;
}

static void send_hello(VGPULink *link)
{
    link->phase = LINK_HELLO;
    send_msg(link, &link->hello, sizeof(link->hello), VGPU_MSG_HELLO);
    timer_mod(link->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + HANDSHAKE_MS);
    /* A refusal stands until another answer. */
    if (link->state.state != VGPU_DEVICE_REFUSED) {
        vgpu_link_set_state(link, VGPU_DEVICE_CONNECTING, VGPU_STARTING,
                            "the mediator has yet to answer");
    }
}

static void send_close(VGPULinkChannel *channel)
{
    struct vgpu_msg_channel msg = {.channel = channel->number};

    channel->state = CHANNEL_CLOSING;
    channel->tag = send_msg(channel->link, &msg, sizeof(msg), VGPU_MSG_CLOSE);
}

static void send_resume(VGPULinkChannel *channel)
{
    struct vgpu_msg_resume msg = {.channel = channel->number};

    memcpy(msg.token, channel->token, sizeof(msg.token));
    channel->tag = send_msg(channel->link, &msg, sizeof(msg), VGPU_MSG_RESUME);
}

static void send_open(VGPULinkChannel *channel)
{
    struct vgpu_msg_open msg = channel->open.ask;

    if (!(channel->link->features & VGPU_FEATURE_WINDOW)) {
        msg.head.flags &= ~VGPU_MSG_OPEN_WINDOW;
    }
    channel->state = CHANNEL_OPENING;
    channel->tag = send_msg(channel->link, &msg, sizeof(msg), VGPU_MSG_OPEN);
}

/* Channels */

static void owe(VGPULinkChannel *channel, ChannelDue due, uint32_t status,
                uint64_t retry_ns, const char *text)
{
    if (channel->granting && due == DUE_GONE) {
        due = DUE_UNGRANTED; /* the owner waits for that */
    }
    channel->granting = false;
    channel->state = CHANNEL_ENDED;
    channel->due = channel->given_up ? DUE_CLOSED : due;
    channel->status = status;
    channel->retry_ns = retry_ns;
    copy_text(channel->text, sizeof(channel->text), text);
    qemu_bh_schedule(channel->link->bh);
}

static void free_channel(VGPULinkChannel *channel)
{
    QTAILQ_REMOVE(&channel->link->channels, channel, next);
    g_free(channel);
}

/* One thing that an owner is to be told; he may open and close while he is. */
static bool tell_one(VGPULink *link)
{
    VGPULinkChannel *channel;

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        VGPULinkChannel was = *channel;

        channel->due = DUE_NOTHING;
        switch (was.due) {
        case DUE_NOTHING:
            continue;
        case DUE_REFUSED:
            free_channel(channel);
            was.open.refused(was.open.opaque, was.status, was.retry_ns, was.text);
            return true;
        case DUE_UNGRANTED:
            was.open.ungranted(was.open.opaque, was.status, was.retry_ns, was.text);
            return true;
        case DUE_GONE:
            was.open.gone(was.open.opaque, was.status, was.text);
            return true;
        case DUE_CLOSED:
            free_channel(channel);
            was.open.closed(was.open.opaque);
            return true;
        }
    }
    return false;
}

static bool by_grants(const VGPULinkChannel *channel)
{
    return channel->open.ask.head.flags & VGPU_MSG_OPEN_GRANT;
}

/* OPENs go one at a time; where nobody would answer them they are answered here. */
static void pump_opens(VGPULink *link)
{
    VGPULinkChannel *channel, *first = NULL;

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->state == CHANNEL_OPENING) {
            return;
        }
        if (channel->state == CHANNEL_WAITING) {
            if (link->phase == LINK_DOWN) {
                owe(channel, DUE_REFUSED, VGPU_STARTING, RETRY_NS,
                    "there is no mediator");
            } else if (link->phase == LINK_REFUSED) {
                owe(channel, DUE_REFUSED, link->state.error, 0, link->state.error_text);
            } else if (link->phase == LINK_UP && by_grants(channel) &&
                       !(link->features & VGPU_FEATURE_GRANT)) {
                owe(channel, DUE_REFUSED, VGPU_VERSION, 0,
                    "the host has no channels by grants");
            } else if (!first) {
                first = channel;
            }
        }
    }
    if (first && link->phase == LINK_UP) {
        send_open(first);
    }
}

static void link_work(void *opaque)
{
    VGPULink *link = opaque;

    if (link->drop && !link->in_realize) {
        link->drop = false;
        qemu_chr_fe_disconnect(link->chr);
    }
    do {
        pump_opens(link);
    } while (tell_one(link));
}

VGPULinkChannel *vgpu_link_open(VGPULink *link, const VGPUOpen *open)
{
    VGPULinkChannel *channel = g_new0(VGPULinkChannel, 1);

    channel->link = link;
    channel->open = *open;
    QTAILQ_INSERT_TAIL(&link->channels, channel, next);
    qemu_bh_schedule(link->bh);
    return channel;
}

void vgpu_link_close(VGPULinkChannel *channel)
{
    VGPULink *link = channel->link;

    channel->given_up = true;
    switch (channel->state) {
    case CHANNEL_OPENING: /* closed when it is open */
    case CHANNEL_CLOSING:
        break;
    case CHANNEL_OPEN:
        if (link->phase == LINK_UP) {
            send_close(channel);
            break;
        }
        owe(channel, DUE_CLOSED, 0, 0, ""); /* what is not resumed ends */
        break;
    case CHANNEL_ENDED:
        if (channel->placed && link->phase == LINK_UP) {
            channel->due = DUE_NOTHING;
            send_close(channel);
            break;
        }
        /* fall through */
    case CHANNEL_WAITING:
        owe(channel, DUE_CLOSED, 0, 0, "");
        break;
    }
}

void vgpu_link_grant(VGPULinkChannel *channel, uint32_t directory, uint32_t event_port)
{
    struct vgpu_msg_grant msg = {.channel = channel->number,
                                 .directory = directory,
                                 .event_port = event_port,
                                 .pages = channel->pages};

    channel->granting = true;
    if (channel->state != CHANNEL_OPEN) {
        owe(channel, DUE_UNGRANTED, channel->status, 0, channel->text);
    } else if (channel->link->phase != LINK_UP) {
        owe(channel, DUE_UNGRANTED, VGPU_STARTING, RETRY_NS, "there is no mediator");
    } else {
        channel->tag = send_msg(channel->link, &msg, sizeof(msg), VGPU_MSG_GRANT);
    }
}

static void refuse_monitor(VGPULink *link, uint32_t status, uint64_t retry_ns,
                           const char *text)
{
    link->monitor_tag = 0;
    link->monitor_ops->refused(link->monitor_opaque, status, retry_ns, text);
}

/* The mediator went away: what it had not answered is answered, what is open waits for
 * RESUME. */
static void lose_requests(VGPULink *link)
{
    VGPULinkChannel *channel;

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        channel->tag = 0;
        if (channel->state == CHANNEL_OPENING || channel->state == CHANNEL_CLOSING) {
            owe(channel, DUE_REFUSED, VGPU_STARTING, RETRY_NS, "the mediator went away");
        } else if (channel->granting) {
            owe(channel, DUE_UNGRANTED, VGPU_STARTING, RETRY_NS,
                "the mediator went away");
        }
    }
    if (link->monitor_tag) {
        refuse_monitor(link, VGPU_STARTING, RETRY_NS, "the mediator went away");
    }
    qemu_bh_schedule(link->bh);
}

/* For good: nothing will be resumed. */
static void end_channels(VGPULink *link, uint32_t status, const char *text)
{
    VGPULinkChannel *channel;

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->state == CHANNEL_OPEN) {
            owe(channel, DUE_GONE, status, 0, text);
        }
    }
}

static VGPULinkChannel *channel_by_tag(VGPULink *link, uint32_t tag)
{
    VGPULinkChannel *channel;

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->tag == tag && tag) {
            return channel;
        }
    }
    return NULL;
}

/* Messages */

static void take_config(VGPULinkState *state, uint32_t priority, uint32_t weight,
                        uint32_t quarantined, const char pool[72])
{
    state->priority = priority;
    state->weight_hundredths = weight;
    state->quarantined = quarantined != 0;
    memcpy(state->pool, pool, sizeof(state->pool));
    state->pool[sizeof(state->pool) - 1] = '\0';
    state->generation++;
}

static void take_welcome(VGPULink *link, const struct vgpu_msg_welcome *msg)
{
    VGPULinkState *state = &link->state;
    VGPULinkChannel *channel;

    if (link->phase != LINK_HELLO || msg->head.tag != link->hello.head.tag ||
        msg->magic != VGPU_MAGIC || msg->version_major != VGPU_VERSION_MAJOR ||
        (msg->features & ~link->hello.features)) {
        drop(link, "its greeting is not of this version");
        return;
    }
    timer_del(link->timer);
    link->phase = LINK_UP;
    link->features = msg->features;
    state->grants = msg->features & VGPU_FEATURE_GRANT;
    state->vm_id = msg->vm_id;
    state->max_channels = msg->max_channels;
    state->max_data_bytes = msg->max_data_bytes;
    memcpy(state->name, msg->name, sizeof(state->name));
    state->name[sizeof(state->name) - 1] = '\0';
    take_config(state, msg->priority, msg->weight_hundredths, msg->quarantined,
                msg->pool);
    if (!(msg->features & VGPU_FEATURE_RESUME)) {
        end_channels(link, VGPU_GONE, "the mediator does not resume channels");
    }
    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->state == CHANNEL_OPEN) {
            send_resume(channel);
        }
    }
    /* A write that fails ends the connection at once. */
    if (link->phase == LINK_UP) {
        vgpu_link_set_state(link, VGPU_DEVICE_READY, VGPU_OK, "");
    }
    qemu_bh_schedule(link->bh);
}

/* The question about GPUs */

void vgpu_link_monitor(VGPULink *link, uint32_t gpu, uint32_t first,
                       const VGPULinkMonitorOps *ops, void *opaque)
{
    struct vgpu_msg_monitor msg = {.gpu = gpu, .first = first};

    link->monitor_ops = ops;
    link->monitor_opaque = opaque;
    if (link->phase == LINK_REFUSED) {
        refuse_monitor(link, link->state.error, 0, link->state.error_text);
    } else if (link->phase != LINK_UP) {
        refuse_monitor(link, VGPU_STARTING, RETRY_NS, "there is no mediator");
    } else if (!(link->features & VGPU_FEATURE_MONITOR)) {
        refuse_monitor(link, VGPU_VERSION, 0, "the host does not tell VMs of their GPUs");
    } else {
        link->monitor_tag = send_msg(link, &msg, sizeof(msg), VGPU_MSG_MONITOR);
    }
}

static void take_monitored(VGPULink *link, const struct vgpu_msg_monitored *msg)
{
    if (!link->monitor_tag || msg->head.tag != link->monitor_tag) {
        drop(link, "it told what was not asked for");
        return;
    }
    link->monitor_tag = 0;
    link->monitor_ops->told(link->monitor_opaque, &msg->monitor);
}

/* May a later HELLO be answered otherwise, soon enough for what is open? */
static bool passing(uint32_t status)
{
    return status == VGPU_BUSY || status == VGPU_STARTING || status == VGPU_LIMIT ||
           status == VGPU_TIMEOUT;
}

static void refuse_link(VGPULink *link, uint32_t status, const char *text)
{
    timer_del(link->timer);
    link->phase = LINK_REFUSED;
    vgpu_link_set_state(link, VGPU_DEVICE_REFUSED, status, text);
    if (!passing(status)) {
        end_channels(link, status, text);
    }
    qemu_bh_schedule(link->bh);
}

static void take_refused(VGPULink *link, const struct vgpu_msg_refused *msg)
{
    VGPULinkChannel *channel = channel_by_tag(link, msg->head.tag);
    char text[VGPU_STATUS_TEXT_BYTES];

    memcpy(text, msg->text, sizeof(text));
    text[sizeof(text) - 1] = '\0';
    if (link->phase == LINK_HELLO || !msg->head.tag) {
        refuse_link(link, msg->status, text);
        return;
    }
    if (link->monitor_tag && msg->head.tag == link->monitor_tag) {
        refuse_monitor(link, msg->status, msg->retry_ns, text);
        return;
    }
    if (!channel) {
        return; /* of a request that was called off */
    }
    channel->tag = 0;
    if (channel->state == CHANNEL_OPENING || channel->state == CHANNEL_CLOSING) {
        owe(channel, DUE_REFUSED, msg->status, msg->retry_ns, text);
    } else if (channel->state == CHANNEL_OPEN) {
        owe(channel, DUE_GONE, msg->status, channel->granting ? msg->retry_ns : 0, text);
    }
}

static void close_fds(int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        close(fds[i]);
    }
}

/*
 * A mediator that was started anew may give a number to another channel. Then it does not
 * hold the place of the one before, whose CLOSE would end the other.
 */
static void forget_number(VGPULink *link, uint32_t number)
{
    VGPULinkChannel *channel;

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->state == CHANNEL_ENDED && channel->number == number) {
            channel->placed = false;
        }
    }
}

static void take_opened(VGPULink *link, const struct vgpu_msg_opened *msg)
{
    VGPULinkChannel *channel = channel_by_tag(link, msg->head.tag);
    int fds[MAX_FDS];
    int n = qemu_chr_fe_get_msgfds(link->chr, fds, MAX_FDS);

    if (!channel || channel->state != CHANNEL_OPENING || n != OPENED_FDS ||
        by_grants(channel)) {
        close_fds(fds, MAX(n, 0));
        drop(link, "it opened what was not asked for");
        return;
    }
    forget_number(link, msg->channel);
    channel->tag = 0;
    channel->state = CHANNEL_OPEN;
    channel->number = msg->channel;
    channel->placed = msg->window != 0;
    memcpy(channel->token, msg->token, sizeof(channel->token));
    qemu_bh_schedule(link->bh);
    if (channel->given_up) {
        close_fds(fds, n);
        send_close(channel);
        return;
    }
    channel->open.opened(channel->open.opaque, msg, fds);
}

/* A channel without a worker, which GRANT starts. */
static void take_promised(VGPULink *link, const struct vgpu_msg_promised *msg)
{
    VGPULinkChannel *channel = channel_by_tag(link, msg->head.tag);
    uint64_t pages = msg->geometry.total_bytes / VGPU_GRANT_PAGE_BYTES;

    if (!channel || channel->state != CHANNEL_OPENING || !by_grants(channel) || !pages ||
        pages > VGPU_GRANT_MAX_PAGES) {
        drop(link, "it promised what was not asked for");
        return;
    }
    forget_number(link, msg->channel);
    channel->tag = 0;
    channel->state = CHANNEL_OPEN;
    channel->number = msg->channel;
    channel->pages = pages;
    memcpy(channel->token, msg->token, sizeof(channel->token));
    qemu_bh_schedule(link->bh);
    if (channel->given_up) {
        send_close(channel);
        return;
    }
    channel->open.promised(channel->open.opaque, msg);
}

static void take_granted(VGPULink *link, const struct vgpu_msg_channel *msg)
{
    VGPULinkChannel *channel = channel_by_tag(link, msg->head.tag);

    if (channel && channel->granting && channel->state == CHANNEL_OPEN) {
        channel->tag = 0;
        channel->granting = false;
        channel->open.granted(channel->open.opaque);
    }
}

static void take_closed(VGPULink *link, const struct vgpu_msg_channel *msg)
{
    VGPULinkChannel *channel = channel_by_tag(link, msg->head.tag);

    if (channel && channel->state == CHANNEL_CLOSING) {
        owe(channel, DUE_CLOSED, 0, 0, "");
    }
}

static void take_resumed(VGPULink *link, const struct vgpu_msg_channel *msg)
{
    VGPULinkChannel *channel = channel_by_tag(link, msg->head.tag);

    if (channel && channel->state == CHANNEL_OPEN) {
        channel->tag = 0;
    }
}

/* A channel that is being closed has its CLOSED yet to come. */
static void take_gone(VGPULink *link, const struct vgpu_msg_gone *msg)
{
    VGPULinkChannel *channel;
    char text[VGPU_STATUS_TEXT_BYTES];

    memcpy(text, msg->text, sizeof(text));
    text[sizeof(text) - 1] = '\0';
    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->state == CHANNEL_OPEN && channel->number == msg->channel) {
            owe(channel, DUE_GONE, msg->status, 0, text);
            return;
        }
    }
}

static void take_state(VGPULink *link, const struct vgpu_msg_state *msg)
{
    take_config(&link->state, msg->priority, msg->weight_hundredths, msg->quarantined,
                msg->pool);
    vgpu_interrupt(link->s, VGPU_IRQ_STATE);
}

/* The size of what the mediator may send; 0: nothing of the kind. */
static uint32_t size_of(uint16_t type)
{
    switch (type) {
    case VGPU_MSG_WELCOME:
        return sizeof(struct vgpu_msg_welcome);
    case VGPU_MSG_REFUSED:
        return sizeof(struct vgpu_msg_refused);
    case VGPU_MSG_OPENED:
        return sizeof(struct vgpu_msg_opened);
    case VGPU_MSG_CLOSED:
    case VGPU_MSG_RESUMED:
    case VGPU_MSG_GRANTED:
        return sizeof(struct vgpu_msg_channel);
    case VGPU_MSG_PROMISED:
        return sizeof(struct vgpu_msg_promised);
    case VGPU_MSG_GONE:
        return sizeof(struct vgpu_msg_gone);
    case VGPU_MSG_STATE:
        return sizeof(struct vgpu_msg_state);
    case VGPU_MSG_MONITORED:
        return sizeof(struct vgpu_msg_monitored);
    default:
        return 0;
    }
}

static void take_message(VGPULink *link, const void *msg)
{
    const struct vgpu_msg *head = msg;

    if (link->phase != LINK_UP && head->type != VGPU_MSG_WELCOME &&
        head->type != VGPU_MSG_REFUSED) {
        drop(link, "it did not answer the greeting first");
        return;
    }
    switch (head->type) {
    case VGPU_MSG_WELCOME:
        take_welcome(link, msg);
        break;
    case VGPU_MSG_REFUSED:
        take_refused(link, msg);
        break;
    case VGPU_MSG_OPENED:
        take_opened(link, msg);
        break;
    case VGPU_MSG_PROMISED:
        take_promised(link, msg);
        break;
    case VGPU_MSG_GRANTED:
        take_granted(link, msg);
        break;
    case VGPU_MSG_CLOSED:
        take_closed(link, msg);
        break;
    case VGPU_MSG_RESUMED:
        take_resumed(link, msg);
        break;
    case VGPU_MSG_GONE:
        take_gone(link, msg);
        break;
    case VGPU_MSG_MONITORED:
        take_monitored(link, msg);
        break;
    default:
        take_state(link, msg);
        break;
    }
}

/* True if one was there and taken. */
static bool take_first_message(VGPULink *link)
{
    uint64_t msg[VGPU_MSG_MAX_BYTES / sizeof(uint64_t)];
    struct vgpu_msg head;

    if (link->drop || link->received < sizeof(head)) {
        return false;
    }
    memcpy(&head, link->input, sizeof(head));
    if (!size_of(head.type) || head.size_bytes != size_of(head.type) || head.flags ||
        head.reserved) {
        drop(link, "it sent a malformed message");
        return false;
    }
    if (link->received < head.size_bytes) {
        return false;
    }
    memcpy(msg, link->input, head.size_bytes);
    link->received -= head.size_bytes;
    memmove(link->input, (uint8_t *)link->input + head.size_bytes, link->received);
    take_message(link, msg);
    return true;
}

/* The chardev's handlers */

static int can_receive(void *opaque)
{
    VGPULink *link = opaque;

    return sizeof(link->input) - link->received;
}

/* Descriptors stay with the chardev until they are taken; those that nobody asked for are
 * closed. */
static void close_unasked(VGPULink *link)
{
    VGPULinkChannel *channel;
    int fds[MAX_FDS];

    QTAILQ_FOREACH(channel, &link->channels, next)
    {
        if (channel->state == CHANNEL_OPENING) {
            return;
        }
    }
    close_fds(fds, MAX(qemu_chr_fe_get_msgfds(link->chr, fds, MAX_FDS), 0));
}

static void receive(void *opaque, const uint8_t *buf, int size)
{
    VGPULink *link = opaque;

    if (link->drop || size > can_receive(link)) {
        return;
    }
    memcpy((uint8_t *)link->input + link->received, buf, size);
    link->received += size;
    while (take_first_message(link)) {
        /* one after the other */
    }
    close_unasked(link);
}

static void connection_ended(VGPULink *link)
{
    timer_del(link->timer);
    if (link->watch) {
        g_source_remove(link->watch);
        link->watch = 0;
    }
    link->connected = false;
    link->drop = false;
    link->phase = LINK_DOWN;
    link->queued = 0;
    if (link->state.state != VGPU_DEVICE_REFUSED) {
        vgpu_link_set_state(link, VGPU_DEVICE_DISCONNECTED, VGPU_STARTING,
                            "there is no mediator");
    }
    lose_requests(link);
}

static void event(void *opaque, VGPUChrEvent what)
{
    VGPULink *link = opaque;

    if (what == CHR_EVENT_OPENED && !link->connected) {
        link->connected = true;
        link->queued = 0;
        link->received = 0;
        send_hello(link);
    } else if (what == CHR_EVENT_CLOSED && link->connected) {
        connection_ended(link);
    }
}

static void handshake_late(void *opaque)
{
    drop(opaque, "it did not answer the greeting in time");
}

void vgpu_link_set_handlers(VGPULink *link, GMainContext *context)
{
    qemu_chr_fe_set_handlers(link->chr, can_receive, receive, event, NULL, link, context,
                             true);
}

static void remove_handlers(VGPULink *link)
{
    qemu_chr_fe_set_handlers(link->chr, NULL, NULL, NULL, NULL, NULL, NULL, true);
}

/* Coming and going */

static void claim(VGPULink *link, const VGPUClaims *claims)
{
    link->hello = (struct vgpu_msg_hello){
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .version_minor = VGPU_VERSION_MINOR,
        .features = VGPU_FEATURES_KNOWN &
                    ~(claims->window_bytes ? 0 : VGPU_FEATURE_WINDOW) &
                    ~(claims->grants ? 0 : VGPU_FEATURE_GRANT),
        .carrier = claims->window_bytes ? VGPU_CARRIER_WINDOW : VGPU_CARRIER_RELAY,
        .window_mib = claims->window_bytes >> 20,
        .claimed_vm_id = claims->vm_id,
        .claimed_priority = claims->priority,
    };
    if (claims->pool) {
        pstrcpy(link->hello.claimed_pool, sizeof(link->hello.claimed_pool), claims->pool);
    }
}

VGPULink *vgpu_link_new(VGPUStub *s, VGPUCharFrontend *frontend, const VGPUClaims *claims,
                        Error **errp)
{
    Chardev *chr = qemu_chr_fe_get_driver(frontend);
    VGPULink *link;

    if (!chr || !qemu_chr_has_feature(chr, QEMU_CHAR_FEATURE_FD_PASS)) {
        error_setg(errp, "vgpu-stub: chardev must name a chardev that is a Unix socket");
        return NULL;
    }
    link = g_new0(VGPULink, 1);
    link->s = s;
    link->chr = frontend;
    link->state.error = VGPU_STARTING;
    pstrcpy(link->state.error_text, sizeof(link->state.error_text),
            "there is no mediator");
    QTAILQ_INIT(&link->channels);
    link->bh = qemu_bh_new(link_work, link);
    link->timer = timer_new_ms(QEMU_CLOCK_REALTIME, handshake_late, link);
    claim(link, claims);
    if (!vgpu_link_begin(link, chr, errp)) {
        vgpu_link_free(link);
        return NULL;
    }
    return link;
}

const VGPULinkState *vgpu_link_state(const VGPULink *link)
{
    return &link->state;
}

void vgpu_link_free(VGPULink *link)
{
    VGPULinkChannel *channel, *next;

    if (!link) {
        return;
    }
    remove_handlers(link);
    qemu_chr_fe_disconnect(link->chr);
    if (link->watch) {
        g_source_remove(link->watch);
    }
    timer_del(link->timer);
    timer_free(link->timer);
    qemu_bh_delete(link->bh);
    QTAILQ_FOREACH_SAFE(channel, &link->channels, next, next)
    {
        free_channel(channel);
    }
    g_free(link);
}
