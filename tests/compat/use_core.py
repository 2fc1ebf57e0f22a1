# SPDX-License-Identifier: Apache-2.0
"""cuda.core: a program compiled, launched on its streams, with its memory resources and events."""
import numpy as np
from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch

SOURCE = r"""
template <typename T>
__global__ void add(const T *a, const T *b, T *c, size_t n)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += gridDim.x * (size_t)blockDim.x)
        c[i] = a[i] + b[i];
}
"""


def bytes_of(array):
    return array.view(np.uint8)


def main():
    device = Device()
    device.set_current()
    stream = device.create_stream()
    options = ProgramOptions(std='c++17', arch='sm_' + device.arch)
    for kind, name in ((np.float32, 'float'), (np.float64, 'double')):
        program = Program(SOURCE, code_type='c++', options=options)
        code = program.compile('ptx', name_expressions=('add<%s>' % name,))
        kernel = code.get_kernel('add<%s>' % name)
        count = 50021
        a, b = (np.random.rand(count).astype(kind) for _ in range(2))
        pinned = [device_pinned(a.nbytes) for _ in range(3)]
        views = [np.from_dlpack(buffer).view(kind)[:count] for buffer in pinned]
        views[0][:], views[1][:] = a, b
        on_device = [device.allocate(a.nbytes, stream=stream) for _ in range(3)]
        for target, source in zip(on_device[:2], pinned[:2]):
            target.copy_from(source, stream=stream)
        launch(stream, LaunchConfig(grid=64, block=256), kernel, *on_device, np.uint64(count))
        on_device[2].copy_to(pinned[2], stream=stream)
        stream.record().sync()
        assert np.allclose(views[2], a + b), name
        del views
        for buffer in [*on_device, *pinned]:
            buffer.close(stream)
    stream.sync()
    stream.close()
    print('all right')


def device_pinned(size):
    from cuda.core import LegacyPinnedMemoryResource  # pylint: disable=import-outside-toplevel
    return LegacyPinnedMemoryResource().allocate(size)


if __name__ == '__main__':
    main()
