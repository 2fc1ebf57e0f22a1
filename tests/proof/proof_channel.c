/* SPDX-License-Identifier: Apache-2.0 */
/* proof-channel: libvgpu, linked in, over a channel whose sizes the caller chooses. */
#include <errno.h>

#include "guest/libvgpu/vgpu.h"
#include "tests/conformance/driver_open.h"
#include "tests/proof/proof.h"

int proof_open(struct cuda_driver *cu, const struct proof_target *target, struct vgpu_err *err)
{
    const struct vgpu_options options = {.data_bytes = target->data_bytes,
                                         .ring_granules = target->granules};
    struct vgpu_failure failure;

    if (vgpu_connect(target->path, &options, &failure) != VGPU_OK)
        return vgpu_err_set(err, EIO, "cannot connect: %s", failure.text);
    cuda_driver_linked(cu);
    return driver_start(cu, target->path, err);
}
