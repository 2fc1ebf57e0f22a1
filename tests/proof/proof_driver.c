/* SPDX-License-Identifier: Apache-2.0 */
/* proof: a driver, by path. */
#include <errno.h>

#include "tests/conformance/driver_open.h"
#include "tests/proof/proof.h"

int proof_open(struct cuda_driver *cu, const struct proof_target *target, struct vgpu_err *err)
{
    if (target->data_bytes || target->granules)
        return vgpu_err_set(err, EINVAL, "a driver has no sizes of a channel");
    return driver_open(cu, target->path, err);
}
