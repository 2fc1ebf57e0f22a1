/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C library of an XCP-ng dom0 (glibc 2.17) lacks, by system calls that its kernel (Linux
 * 4.19) has. Only built with the option dom0, as a part of common; the C library's headers declare
 * them. tests/xcp-ng/test_dom0.py proves that nothing else newer is used.
 */
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

int memfd_create(const char *name, unsigned flags)
{
    return (int)syscall(SYS_memfd_create, name, flags);
}

ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
    return syscall(SYS_getrandom, buffer, length, flags);
}
