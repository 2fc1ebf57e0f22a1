# SPDX-License-Identifier: Apache-2.0
"""The driver API's surface: prototypes, the table of a loaded driver, the exported names."""
import re

HEAD = '/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by cuda/gen.py from cuda/cuda.spec. */\n'


def prototypes(spec):
    out = [HEAD, '#ifndef VGPU_CUDA_API_H\n#define VGPU_CUDA_API_H\n\n#include "cuda/cuda_abi.h"\n\n',
           '#define CUDA_API __attribute__((visibility("default")))\n\n']
    for api in spec.apis:
        out.append('CUDA_API CUresult %s(%s);\n' % (api.symbol, api.parameters))
        if api.twin:
            out.append('CUDA_API CUresult %s(%s);\n' % (api.twin, api.parameters))
        for name, _version in api.also:
            out.append('CUDA_API CUresult %s(%s);\n' % (name, api.parameters))
    out.append('\n#endif\n')
    return ''.join(out)


def driver_header(spec):
    out = [HEAD, '''/*
 * A loaded CUDA driver: one function pointer for each call, named as in NVIDIA's cuda.h.
 * Used by the worker (any driver by path) and by programs that run on a driver directly.
 */
#ifndef VGPU_CUDA_DRIVER_H
#define VGPU_CUDA_DRIVER_H

#include "common/err.h"
#include "cuda/cuda_abi.h"

struct cuda_driver {
    void *library; /* from dlopen; NULL for a driver that is linked in */
''']
    for api in spec.apis:
        out.append('    CUresult (*%s)(%s);\n' % (api.member, api.parameters))
    out.append('''};

/*
 * Loads the driver at path (a file, or a name that dlopen finds). Calls that it lacks answer
 * CUDA_ERROR_NOT_SUPPORTED. Returns 0, or -ENOENT/-ELIBBAD with err set.
 */
int cuda_driver_load(struct cuda_driver *driver, const char *path, struct vgpu_err *err);

/* Takes the functions that are linked into this program instead. */
void cuda_driver_linked(struct cuda_driver *driver);

/* Unloads; a driver that is linked in is left alone. */
void cuda_driver_unload(struct cuda_driver *driver);

#endif
''')
    return ''.join(out)


def driver_source(spec):
    out = [HEAD, '#include "cuda/cuda_driver.h"\n#include "cuda/driver_load.h"\n\n',
           'static const struct cuda_symbol symbols[] = {\n']
    for api in spec.apis:
        names = ', '.join('"%s"' % n for n in [api.symbol] + [n for n, _ in api.also])
        out.append('    {offsetof(struct cuda_driver, %s), {%s}},\n' % (api.member, names))
    out.append('''};

int cuda_driver_load(struct cuda_driver *driver, const char *path, struct vgpu_err *err)
{
    return cuda_symbols_load(driver, &driver->library, symbols,
                             sizeof(symbols) / sizeof(symbols[0]), path, err);
}

void cuda_driver_unload(struct cuda_driver *driver)
{
    cuda_symbols_unload(&driver->library);
}
''')
    return ''.join(out)


def _base(symbol):
    return re.sub(r'_v\d+$', '', symbol)


def _rows(spec):
    """Of the table for cuGetProcAddress: base name, version, symbol, the same of its twin."""
    twins = {re.sub(r'_pt[ds][sz]$', '', name): (name, version) for name, version in spec.variants
             if re.search(r'_pt[ds][sz]$', name)}
    found = []
    for api in spec.apis:
        found.append((api.base, api.version, api.symbol))
        if api.twin:
            twins[api.symbol] = (api.twin, api.twin_version)
        found += [(api.base, version, name) for name, version in api.also]
        if api.other_base:
            found.append((*api.other_base, api.symbol))
    found += [(_base(name), version, name) for name, version in spec.unsupported + spec.variants
              if not re.search(r'_pt[ds][sz]$', name)]
    rows = []
    for base, version, symbol in found:
        twin, twin_version = twins.get(symbol, (None, 0))
        rows.append((base, version, symbol, twin_version,
                     '(void *)(uintptr_t)%s' % twin if twin else 'NULL'))
    return rows


def exports_source(spec):
    out = [HEAD, '''/*
 * What a library that implements the driver API exports beside the functions themselves: twins for
 * the per-thread default stream, earlier names, unsupported names, and the table for
 * cuGetProcAddress. The library provides the functions of cuda/exports.h.
 */
#include "cuda/cuda_api.h"
#include "cuda/cuda_driver.h"
#include "cuda/exports.h"

''']
    for api in spec.apis:
        args = ', '.join(api.argument_names)
        if api.twin:
            out.append('CUresult %s(%s)\n{\n    CUresult result;\n\n'
                       '    cuda_per_thread_enter();\n    result = %s(%s);\n'
                       '    cuda_per_thread_leave();\n    return result;\n}\n\n'
                       % (api.twin, api.parameters, api.symbol, args))
        for name, _version in api.also:
            out.append('CUresult %s(%s)\n{\n    return %s(%s);\n}\n\n'
                       % (name, api.parameters, api.symbol, args))
    for name, _version in spec.unsupported + spec.variants:
        out.append('CUDA_API CUresult %s(void);\nCUresult %s(void)\n{\n'
                   '    return cuda_unsupported("%s");\n}\n\n' % (name, name, name))
    rows = _rows(spec)
    out.append('const struct cuda_export cuda_exports[] = {\n')
    for base, version, symbol, twin_version, twin in sorted(rows):
        out.append('    {"%s", %d, (void *)(uintptr_t)%s, %d, %s},\n'
                   % (base, version, symbol, twin_version, twin))
    out.append('};\n\nconst size_t cuda_exports_count = '
               'sizeof(cuda_exports) / sizeof(cuda_exports[0]);\n\n')
    out.append('void cuda_driver_linked(struct cuda_driver *driver)\n{\n'
               '    *driver = (struct cuda_driver){\n')
    for api in spec.apis:
        out.append('        .%s = %s,\n' % (api.member, api.symbol))
    out.append('    };\n}\n')
    return ''.join(out)
