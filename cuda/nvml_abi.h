/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of NVML's binary interface that this project uses, as NVIDIA's nvml.h (version 13)
 * documents it: softgpu's NVML and the guest's export it, and the mediator's NVML helper loads it
 * from whichever NVML there is. Values and layouts must equal those of nvml.h. Self-contained.
 */
#ifndef VGPU_CUDA_NVML_ABI_H
#define VGPU_CUDA_NVML_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct nvmlEventSet_st *nvmlEventSet_t;

#define NVML_RETURNS(X)                                                                            \
    X(NVML_SUCCESS, 0, "Success")                                                                  \
    X(NVML_ERROR_UNINITIALIZED, 1, "Uninitialized")                                                \
    X(NVML_ERROR_INVALID_ARGUMENT, 2, "Invalid Argument")                                          \
    X(NVML_ERROR_NOT_SUPPORTED, 3, "Not Supported")                                                \
    X(NVML_ERROR_NO_PERMISSION, 4, "Insufficient Permissions")                                     \
    X(NVML_ERROR_ALREADY_INITIALIZED, 5, "Already Initialized")                                    \
    X(NVML_ERROR_NOT_FOUND, 6, "Not Found")                                                        \
    X(NVML_ERROR_INSUFFICIENT_SIZE, 7, "Insufficient Size")                                        \
    X(NVML_ERROR_INSUFFICIENT_POWER, 8, "Insufficient External Power")                             \
    X(NVML_ERROR_DRIVER_NOT_LOADED, 9, "Driver Not Loaded")                                        \
    X(NVML_ERROR_TIMEOUT, 10, "Timeout")                                                           \
    X(NVML_ERROR_IRQ_ISSUE, 11, "Interrupt Request Issue")                                         \
    X(NVML_ERROR_LIBRARY_NOT_FOUND, 12, "NVML Shared Library Not Found")                           \
    X(NVML_ERROR_FUNCTION_NOT_FOUND, 13, "Function Not Found")                                     \
    X(NVML_ERROR_CORRUPTED_INFOROM, 14, "Corrupted infoROM")                                       \
    X(NVML_ERROR_GPU_IS_LOST, 15, "GPU is lost")                                                   \
    X(NVML_ERROR_RESET_REQUIRED, 16, "GPU requires reset")                                         \
    X(NVML_ERROR_OPERATING_SYSTEM, 17, "The operating system has blocked the request.")            \
    X(NVML_ERROR_LIB_RM_VERSION_MISMATCH, 18, "Driver/library version mismatch")                   \
    X(NVML_ERROR_IN_USE, 19, "In use by another client")                                           \
    X(NVML_ERROR_MEMORY, 20, "Insufficient Memory")                                                \
    X(NVML_ERROR_NO_DATA, 21, "No data")                                                           \
    X(NVML_ERROR_VGPU_ECC_NOT_SUPPORTED, 22, "Not Supported with ECC")                             \
    X(NVML_ERROR_INSUFFICIENT_RESOURCES, 23, "Insufficient Resources")                             \
    X(NVML_ERROR_FREQ_NOT_SUPPORTED, 24, "Frequency Not Supported")                                \
    X(NVML_ERROR_ARGUMENT_VERSION_MISMATCH, 25, "The version of the argument is not supported")    \
    X(NVML_ERROR_DEPRECATED, 26, "Deprecated")                                                     \
    X(NVML_ERROR_NOT_READY, 27, "Not Ready")                                                       \
    X(NVML_ERROR_GPU_NOT_FOUND, 28, "GPU Not Found")                                               \
    X(NVML_ERROR_INVALID_STATE, 29, "Invalid State")                                               \
    X(NVML_ERROR_RESET_TYPE_NOT_SUPPORTED, 30, "Reset Type Not Supported")                         \
    X(NVML_ERROR_UNKNOWN, 999, "Unknown Error")

typedef enum {
#define NVML_RETURN_ENUM(name, value, text) name = value,
    NVML_RETURNS(NVML_RETURN_ENUM)
#undef NVML_RETURN_ENUM
} nvmlReturn_t;

#define NVML_DEVICE_NAME_BUFFER_SIZE           64
#define NVML_DEVICE_UUID_BUFFER_SIZE           80
#define NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE 80
#define NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE   80
#define NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE     32
#define NVML_DEVICE_PCI_BUS_ID_V1_SIZE         16

#define NVML_INIT_FLAG_NO_GPUS   1
#define NVML_INIT_FLAG_NO_ATTACH 2

typedef struct {
    char busIdLegacy[NVML_DEVICE_PCI_BUS_ID_V1_SIZE];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    char busId[NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE];
} nvmlPciInfo_t;

/* Of nvmlDeviceGetPciInfo and nvmlDeviceGetPciInfo_v2. */
typedef struct {
    char busId[NVML_DEVICE_PCI_BUS_ID_V1_SIZE];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
} nvmlPciInfo_v1_t;

typedef struct {
    char busId[NVML_DEVICE_PCI_BUS_ID_V1_SIZE];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    unsigned int reserved[4];
} nvmlPciInfo_v2_t;

typedef struct {
    unsigned int version;
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    unsigned int baseClass;
    unsigned int subClass;
    char busId[NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE];
} nvmlPciInfoExt_t;

#define NVML_PCI_INFO_EXT_V1 ((unsigned)sizeof(nvmlPciInfoExt_t) | 1u << 24)

#define NVML_DEVICE_UUID_ASCII_LEN  41
#define NVML_DEVICE_UUID_BINARY_LEN 16

typedef struct {
    unsigned int version;
    unsigned int type; /* NVML_UUID_TYPE_* */
    union {
        char str[NVML_DEVICE_UUID_ASCII_LEN];
        unsigned char bytes[NVML_DEVICE_UUID_BINARY_LEN];
    } value;
} nvmlUUID_t;

#define NVML_UUID_V1          ((unsigned)sizeof(nvmlUUID_t) | 1u << 24)
#define NVML_UUID_TYPE_ASCII  1u
#define NVML_UUID_TYPE_BINARY 2u

typedef struct {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
} nvmlMemory_t;

typedef struct {
    unsigned int version;
    unsigned long long total;
    unsigned long long reserved;
    unsigned long long free;
    unsigned long long used;
} nvmlMemory_v2_t;

#define NVML_MEMORY_V2 ((unsigned)sizeof(nvmlMemory_v2_t) | 2u << 24)

typedef struct {
    unsigned int gpu;
    unsigned int memory;
} nvmlUtilization_t;

typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
} nvmlProcessInfo_v1_t;

typedef struct {
    unsigned int pid;
    unsigned long long timeStamp; /* us since 1970 */
    unsigned int smUtil;          /* percent, as the others */
    unsigned int memUtil;
    unsigned int encUtil;
    unsigned int decUtil;
} nvmlProcessUtilizationSample_t;

/* Of the _v2 and _v3 functions. */
typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
} nvmlProcessInfo_t;

#define NVML_NO_INSTANCE 0xffffffffu

typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType;
    unsigned long long eventData;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
} nvmlEventData_t;

#define NVML_EVENT_SINGLE_BIT_ECC 0x1ull
#define NVML_EVENT_DOUBLE_BIT_ECC 0x2ull
#define NVML_EVENT_XID_CRITICAL   0x8ull

/* Why clocks are lower than they could be. */
#define NVML_CLOCKS_GPU_IDLE             0x1ull
#define NVML_CLOCKS_APPLICATIONS_SETTING 0x2ull
#define NVML_CLOCKS_SW_POWER_CAP         0x4ull
#define NVML_CLOCKS_HW_SLOWDOWN          0x8ull
#define NVML_CLOCKS_SYNC_BOOST           0x10ull
#define NVML_CLOCKS_SW_THERMAL           0x20ull
#define NVML_CLOCKS_HW_THERMAL           0x40ull
#define NVML_CLOCKS_HW_POWER_BRAKE       0x80ull
#define NVML_CLOCKS_DISPLAY_SETTING      0x100ull

typedef union {
    double dVal;
    int siVal;
    unsigned int uiVal;
    unsigned long ulVal;
    unsigned long long ullVal;
    signed long long sllVal;
    unsigned short usVal;
} nvmlValue_t;

typedef struct {
    unsigned int fieldId; /* NVML_FI_* */
    unsigned int scopeId;
    long long timestamp;
    long long latencyUsec;
    unsigned int valueType; /* NVML_VALUE_TYPE_* */
    nvmlReturn_t nvmlReturn;
    nvmlValue_t value;
} nvmlFieldValue_t;

#define NVML_VALUE_TYPE_UNSIGNED_INT       1u
#define NVML_VALUE_TYPE_UNSIGNED_LONG_LONG 3u

#define NVML_FI_DEV_MEMORY_TEMP             82u
#define NVML_FI_DEV_GET_GPU_RECOVERY_ACTION 230u

#define NVML_GPU_RECOVERY_ACTION_NONE            0u
#define NVML_GPU_RECOVERY_ACTION_GPU_RESET       1u
#define NVML_GPU_RECOVERY_ACTION_NODE_REBOOT     2u
#define NVML_GPU_RECOVERY_ACTION_DRAIN_P2P       3u
#define NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET 4u

typedef enum { NVML_TEMPERATURE_GPU = 0 } nvmlTemperatureSensors_t;

typedef enum {
    NVML_CLOCK_GRAPHICS = 0,
    NVML_CLOCK_SM = 1,
    NVML_CLOCK_MEM = 2,
    NVML_CLOCK_VIDEO = 3,
} nvmlClockType_t;

typedef enum {
    NVML_MEMORY_ERROR_CORRECTED = 0,
    NVML_MEMORY_ERROR_UNCORRECTED = 1,
} nvmlMemoryErrorType_t;

typedef enum {
    NVML_VOLATILE_ECC = 0,
    NVML_AGGREGATE_ECC = 1,
} nvmlEccCounterType_t;

typedef enum {
    NVML_PAGE_RETIREMENT_SINGLE_BIT = 0,
    NVML_PAGE_RETIREMENT_DOUBLE_BIT = 1,
} nvmlPageRetirementCause_t;

typedef enum {
    NVML_FEATURE_DISABLED = 0,
    NVML_FEATURE_ENABLED = 1,
} nvmlEnableState_t;

typedef enum { NVML_COMPUTEMODE_DEFAULT = 0 } nvmlComputeMode_t;

#define NVML_DEVICE_ARCH_MAXWELL   3u
#define NVML_DEVICE_ARCH_PASCAL    4u
#define NVML_DEVICE_ARCH_VOLTA     5u
#define NVML_DEVICE_ARCH_TURING    6u
#define NVML_DEVICE_ARCH_AMPERE    7u
#define NVML_DEVICE_ARCH_ADA       8u
#define NVML_DEVICE_ARCH_HOPPER    9u
#define NVML_DEVICE_ARCH_BLACKWELL 10u
#define NVML_DEVICE_ARCH_UNKNOWN   0xffffffffu

#define NVML_DEVICE_MIG_DISABLE 0
#define NVML_DEVICE_MIG_ENABLE  1

#define NVML_LAYOUT(type, size)                                                                    \
    _Static_assert(sizeof(type) == (size), #type " must have NVML's size")
NVML_LAYOUT(nvmlPciInfo_t, 68);
NVML_LAYOUT(nvmlPciInfo_v2_t, 52);
NVML_LAYOUT(nvmlPciInfo_v1_t, 32);
NVML_LAYOUT(nvmlPciInfoExt_t, 64);
NVML_LAYOUT(nvmlUUID_t, 52);
NVML_LAYOUT(nvmlMemory_t, 24);
NVML_LAYOUT(nvmlMemory_v2_t, 40);
NVML_LAYOUT(nvmlUtilization_t, 8);
NVML_LAYOUT(nvmlProcessInfo_v1_t, 16);
NVML_LAYOUT(nvmlProcessInfo_t, 24);
NVML_LAYOUT(nvmlEventData_t, 32);
NVML_LAYOUT(nvmlValue_t, 8);
NVML_LAYOUT(nvmlFieldValue_t, 40);

#endif
