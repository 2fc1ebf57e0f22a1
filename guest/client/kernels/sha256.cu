// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) of many messages, one a thread. Message i is the bytes offsets[i] up to
// offsets[i + 1]; its digest is 32 bytes at digests + 32 * i. Host side: workload_sha256.c.

__constant__ unsigned int sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static __device__ __forceinline__ unsigned int rotate(unsigned int x, int by)
{
    return x >> by | x << (32 - by);
}

static __device__ void compress(unsigned int state[8], unsigned int w[64])
{
    unsigned int a = state[0], b = state[1], c = state[2], d = state[3];
    unsigned int e = state[4], f = state[5], g = state[6], h = state[7];

    for (int t = 16; t < 64; t++) {
        unsigned int x = w[t - 15], y = w[t - 2];

        w[t] = w[t - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[t - 7] +
               (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    for (int t = 0; t < 64; t++) {
        unsigned int t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                          (e & f ^ ~e & g) + sha256_k[t] + w[t];
        unsigned int t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                          (a & b ^ a & c ^ b & c);

        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

// The message's byte at `at`, with FIPS 180-4's padding of `padded` bytes behind `length`.
static __device__ __forceinline__ unsigned int message_byte(const unsigned char *message,
                                                            unsigned int length,
                                                            unsigned int padded, unsigned int at)
{
    if (at < length)
        return message[at];
    if (at == length)
        return 0x80;
    if (at + 8 < padded)
        return 0;
    return (unsigned int)((unsigned long long)length * 8 >> 8 * (padded - 1 - at)) & 255;
}

extern "C" __global__ void sha256(const unsigned char *__restrict__ messages,
                                  const unsigned int *__restrict__ offsets,
                                  unsigned char *__restrict__ digests, unsigned int n)
{
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i >= n)
        return;

    const unsigned char *message = messages + offsets[i];
    unsigned int length = offsets[i + 1] - offsets[i];
    unsigned int padded = (length + 9 + 63) / 64 * 64;
    unsigned int state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    for (unsigned int base = 0; base < padded; base += 64) {
        unsigned int w[64];

        for (unsigned int t = 0; t < 16; t++)
            w[t] = message_byte(message, length, padded, base + 4 * t) << 24 |
                   message_byte(message, length, padded, base + 4 * t + 1) << 16 |
                   message_byte(message, length, padded, base + 4 * t + 2) << 8 |
                   message_byte(message, length, padded, base + 4 * t + 3);
        compress(state, w);
    }
    for (unsigned int t = 0; t < 32; t++)
        digests[32 * i + t] = (unsigned char)(state[t / 4] >> 8 * (3 - t % 4));
}
