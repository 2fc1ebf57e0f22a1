// SPDX-License-Identifier: Apache-2.0
// One step of gravity between all pairs of bodies (x, y, z, mass), softened; a block loads the
// bodies tile by tile into shared memory. Positions are read from one array and written to another.
// Host side: workload_nbody.c.

#define TILE 128

extern "C" __global__ void nbody(const float4 *__restrict__ in, float4 *__restrict__ out,
                                 float4 *__restrict__ velocity, unsigned int n, float step,
                                 float softening2)
{
    __shared__ float4 tile[TILE];
    unsigned int i = blockIdx.x * TILE + threadIdx.x;
    float4 body = i < n ? in[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float ax = 0.0f, ay = 0.0f, az = 0.0f;

    for (unsigned int base = 0; base < n; base += TILE) {
        unsigned int j = base + threadIdx.x;

        tile[threadIdx.x] = j < n ? in[j] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        __syncthreads();
        for (unsigned int k = 0; k < TILE; k++) {
            float dx = tile[k].x - body.x, dy = tile[k].y - body.y, dz = tile[k].z - body.z;
            float inverse = rsqrtf(dx * dx + dy * dy + dz * dz + softening2);
            float force = tile[k].w * inverse * inverse * inverse;

            ax += dx * force;
            ay += dy * force;
            az += dz * force;
        }
        __syncthreads();
    }
    if (i >= n)
        return;

    float4 v = velocity[i];

    v.x += ax * step;
    v.y += ay * step;
    v.z += az * step;
    velocity[i] = v;
    body.x += v.x * step;
    body.y += v.y * step;
    body.z += v.z * step;
    out[i] = body;
}
