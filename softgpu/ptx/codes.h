/* SPDX-License-Identifier: Apache-2.0 */
/* Encodings of op.x and op.imm that the lowering writes and the handlers read. */
#ifndef SOFTGPU_PTX_CODES_H
#define SOFTGPU_PTX_CODES_H

#include <stdint.h>

enum rounding { ROUND_N, ROUND_Z, ROUND_M, ROUND_P };

/* SETP: x */
#define SETP_LOGIC    3u /* 0 none, 1 and, 2 or, 3 xor with predicate c */
#define SETP_INVERT_C 4u

/* addx: x */
#define ADDX_IN  1u
#define ADDX_OUT 2u
#define ADDX_SUB 4u

/* pred_logic: x */
enum pred_logic { PRED_MOV, PRED_NOT, PRED_AND, PRED_OR, PRED_XOR };

/* prmt: x */
enum prmt_mode { PRMT_PLAIN, PRMT_F4E, PRMT_B4E, PRMT_RC8, PRMT_ECL, PRMT_ECR, PRMT_RC16 };

/* dp4a, dp2a: x */
#define DP_SIGNED_A 1u
#define DP_SIGNED_B 2u
#define DP_HIGH     4u

/* szext, bmsk: x */
#define EXT_SIGNED 1u
#define EXT_WRAP   2u

/* round_f32, round_f64, half: x is the operation; of the first two, rounding << 4 */
enum fop {
    FOP_ADD,
    FOP_SUB,
    FOP_MUL,
    FOP_FMA,
    FOP_DIV,
    FOP_RCP,
    FOP_SQRT,
    FOP_NEG,
    FOP_ABS,
    FOP_MIN,
    FOP_MAX,
    FOP_EX2,
    FOP_TANH,
    FOP_COPY
};
#define FLAG_FTZ    1u
#define FLAG_SAT    2u
#define FLAG_RELU   4u
#define FLAG_NAN    8u
#define FLAG_XORS   16u
#define FLAG_BF16   32u
#define FLAG_PACKED 64u

/* cvt: imm = from | to << 8 | from class << 16 | to class << 20 | rounding << 24 | flags << 32 */
enum cvt_rounding { CVT_RN, CVT_RZ, CVT_RM, CVT_RP, CVT_RNI, CVT_RZI, CVT_RMI, CVT_RPI, CVT_NONE };

/* testp: x */
enum testp { TESTP_FINITE, TESTP_INFINITE, TESTP_NUMBER, TESTP_NAN, TESTP_NORMAL, TESTP_SUBNORMAL };
#define TESTP_WIDE 8u

/* ld, st: x = log2 of element bytes | ...; imm = offset (32 bits) | register class << 32 | order */
#define MEM_SIGNED     8u
#define MEM_ADDRESS32  16u
#define MEM_VECTOR(x)  ((x) >> 5) /* log2 of the number of elements */
#define MEM_CLASS(imm) ((unsigned)((imm) >> 32 & 15))
#define MEM_ACQUIRE    (UINT64_C(1) << 40)
#define MEM_RELEASE    (UINT64_C(1) << 41)

/* atom: x = operation | MEM_ADDRESS32; imm = offset | type << 32 */
enum atom_op {
    ATOM_ADD,
    ATOM_AND,
    ATOM_OR,
    ATOM_XOR,
    ATOM_EXCH,
    ATOM_CAS,
    ATOM_INC,
    ATOM_DEC,
    ATOM_MIN,
    ATOM_MAX
};

/* bar: x */
enum bar_kind { BAR_SYNC, BAR_ARRIVE, BAR_POPC, BAR_AND, BAR_OR };
#define BAR_INVERT 8u

/* shfl, vote, match, redux: x */
enum shfl_mode { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };
enum vote_mode { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };
#define VOTE_INVERT 4u
#define MATCH_ALL   1u
#define MATCH_WIDE  2u
#define WARP_SYNC   16u
enum redux_op { REDUX_ADD, REDUX_MIN, REDUX_MAX, REDUX_AND, REDUX_OR, REDUX_XOR };
#define REDUX_SIGNED 8u

#endif
