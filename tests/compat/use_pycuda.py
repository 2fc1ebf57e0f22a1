# SPDX-License-Identifier: Apache-2.0
"""PyCUDA without nvcc: a module of PTX, arrays, streams, events, page-locked memory."""
import numpy as np
import pycuda.autoinit  # noqa: F401
import pycuda.driver as cuda

PTX = b""".version 7.0
.target sm_70
.address_size 64
.visible .entry twice(.param .u64 data, .param .u32 n)
{
.reg .pred %p<2>;
.reg .b32 %r<6>;
.reg .f32 %f<3>;
.reg .b64 %d<4>;
ld.param.u64 %d1, [data];
ld.param.u32 %r1, [n];
cvta.to.global.u64 %d1, %d1;
mov.u32 %r2, %ctaid.x;
mov.u32 %r3, %ntid.x;
mov.u32 %r4, %tid.x;
mad.lo.s32 %r5, %r2, %r3, %r4;
setp.ge.u32 %p1, %r5, %r1;
@%p1 bra END;
mul.wide.u32 %d2, %r5, 4;
add.s64 %d3, %d1, %d2;
ld.global.f32 %f1, [%d3];
add.rn.f32 %f2, %f1, %f1;
st.global.f32 [%d3], %f2;
END:
ret;
}
"""


def main():
    function = cuda.module_from_buffer(PTX + b'\0').get_function('twice')
    data = np.random.rand(12345).astype(np.float32)
    expected = data * 2
    device = cuda.mem_alloc(data.nbytes)
    cuda.memcpy_htod(device, data)
    function(device, np.uint32(data.size), block=(256, 1, 1), grid=((data.size + 255) // 256, 1))
    out = np.empty_like(data)
    cuda.memcpy_dtoh(out, device)
    assert np.allclose(out, expected)

    stream = cuda.Stream()
    pinned = cuda.pagelocked_empty(data.shape, np.float32)
    pinned[:] = data
    start, end = cuda.Event(), cuda.Event()
    start.record(stream)
    cuda.memcpy_htod_async(device, pinned, stream)
    function(device, np.uint32(data.size), block=(256, 1, 1), grid=((data.size + 255) // 256, 1),
             stream=stream)
    cuda.memcpy_dtoh_async(pinned, device, stream)
    end.record(stream)
    end.synchronize()
    assert end.time_since(start) >= 0
    assert np.allclose(pinned, expected)
    print('all right')


if __name__ == '__main__':
    main()
