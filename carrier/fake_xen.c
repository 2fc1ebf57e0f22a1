/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/fake_xen.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "carrier/fake_grant.h"
#include "common/cleanup.h"

#define LOCAL_PORT 1000u /* of the backend: that much more than the guest's */

void fake_xen_init(struct fake_xen *xen)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/vgpu-xen-XXXXXX", target[64];

    *xen = (struct fake_xen){.used = 1};
    assert_non_null(mkdtemp(dir));
    snprintf(xen->events, sizeof(xen->events), "%s/events", dir);
    snprintf(xen->memory_path, sizeof(xen->memory_path), "%s/memory", dir);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", xen->events);
    xen->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(xen->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(xen->listener, FAKE_XEN_CONNS), 0);
    xen->memory = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(fchmod(xen->memory, 0600), 0); /* as the device is */
    assert_int_equal(ftruncate(xen->memory, (off_t)FAKE_XEN_PAGES * 4096), 0);
    xen->pages = mmap(NULL, (size_t)FAKE_XEN_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
                      xen->memory, 0);
    assert_ptr_not_equal(xen->pages, MAP_FAILED);
    snprintf(target, sizeof(target), "/proc/%d/fd/%d", (int)getpid(), xen->memory);
    assert_int_equal(symlink(target, xen->memory_path), 0);
}

void fake_xen_release(struct fake_xen *xen)
{
    for (unsigned i = 0; i < xen->n_conns; i++)
        vgpu_close(&xen->conns[i].sock);
    close(xen->listener);
    munmap(xen->pages, (size_t)FAKE_XEN_PAGES * 4096);
    close(xen->memory);
    unlink(xen->events);
    unlink(xen->memory_path);
    *strrchr(xen->events, '/') = '\0';
    rmdir(xen->events);
}

uint8_t *fake_xen_pages(struct fake_xen *xen, uint32_t n, uint32_t *ret_ref)
{
    uint8_t *pages = xen->pages + (size_t)xen->used * 4096;

    assert_true(xen->used + n <= FAKE_XEN_PAGES);
    *ret_ref = xen->used;
    xen->used += n;
    memset(pages, 0, (size_t)n * 4096);
    return pages;
}

uint32_t fake_xen_directory(struct fake_xen *xen, uint32_t first, uint32_t n)
{
    uint32_t tables = (n + VGPU_GRANT_TABLE_ENTRIES - 1) / VGPU_GRANT_TABLE_ENTRIES;
    uint32_t directory_ref, table_ref;
    struct vgpu_grant_directory *directory =
        (struct vgpu_grant_directory *)(void *)fake_xen_pages(xen, 1, &directory_ref);
    uint32_t *refs = (uint32_t *)(void *)fake_xen_pages(xen, tables, &table_ref);

    directory->magic = VGPU_GRANT_MAGIC;
    directory->version = VGPU_GRANT_VERSION;
    directory->pages = n;
    directory->tables = tables;
    for (uint32_t i = 0; i < tables; i++)
        directory->table[i] = table_ref + i;
    for (uint32_t i = 0; i < n; i++)
        refs[i] = first + i;
    return directory_ref;
}

/* False: nothing more. */
static bool take(struct fake_xen *xen, struct fake_xen_conn *conn)
{
    struct fake_grant_message message;
    ssize_t got = recv(conn->sock, &message, sizeof(message), MSG_DONTWAIT);

    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        vgpu_close(&conn->sock);
        conn->port = 0;
        return false;
    }
    if (got != sizeof(message))
        return false;
    switch (message.what) {
    case FAKE_GRANT_OPEN:
        conn->domid = message.port;
        break;
    case FAKE_GRANT_BIND:
        if (xen->refuses_binds)
            break;
        conn->port = message.port;
        conn->masked = conn->pending = false;
        message.port += LOCAL_PORT;
        send(conn->sock, &message, sizeof(message), MSG_NOSIGNAL);
        break;
    case FAKE_GRANT_NOTIFY:
        conn->notified += message.port == conn->port + LOCAL_PORT;
        break;
    case FAKE_GRANT_UNMASK:
        conn->masked = false;
        if (conn->pending)
            fake_xen_send(xen, conn->port);
        break;
    case FAKE_GRANT_UNBIND:
        conn->port = 0;
        break;
    default:
        fail_msg("not a message to Xen: %u", message.what);
    }
    return true;
}

void fake_xen_turn(struct fake_xen *xen, int timeout_ms)
{
    struct pollfd fds[FAKE_XEN_CONNS + 1] = {{.fd = xen->listener, .events = POLLIN}};

    for (unsigned i = 0; i < xen->n_conns; i++)
        fds[i + 1] = (struct pollfd){.fd = xen->conns[i].sock, .events = POLLIN};
    if (poll(fds, xen->n_conns + 1, timeout_ms) <= 0)
        return;
    for (unsigned i = 0; i < xen->n_conns; i++)
        while (fds[i + 1].revents && take(xen, &xen->conns[i]))
            ;
    if (fds[0].revents && xen->n_conns < FAKE_XEN_CONNS)
        xen->conns[xen->n_conns++].sock = accept4(xen->listener, NULL, NULL, SOCK_CLOEXEC);
}

struct fake_xen_conn *fake_xen_bound(struct fake_xen *xen, uint32_t port)
{
    for (unsigned i = 0; i < xen->n_conns; i++)
        if (xen->conns[i].sock >= 0 && xen->conns[i].port == port)
            return &xen->conns[i];
    return NULL;
}

uint32_t fake_xen_bind(struct fake_xen *xen, unsigned conn, uint32_t port)
{
    assert_true(conn < xen->n_conns);
    xen->conns[conn].port = port;
    xen->conns[conn].masked = xen->conns[conn].pending = false;
    return port + LOCAL_PORT;
}

void fake_xen_send(struct fake_xen *xen, uint32_t port)
{
    const struct fake_grant_message message = {FAKE_GRANT_EVENT, 0, port + LOCAL_PORT};
    struct fake_xen_conn *conn = fake_xen_bound(xen, port);

    if (!conn)
        return;
    conn->pending = conn->masked;
    if (conn->masked)
        return;
    conn->masked = true;
    send(conn->sock, &message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}
