/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-stub, the PCI device: BARs, registers, interrupts, access to guest memory,
 * properties, realize and reset. QEMU creates one for each -device vgpu-stub.
 * docs/spec/device.md is what a guest sees.
 *
 * A guest may write anything anywhere at any time. Handlers of registers only note what
 * is wanted; commands and all access to guest memory follow in bottom halves, but for one
 * word that a doorbell clears (relay.c). The device reads and writes RAM only, never
 * another device, so a DMA cannot come back to it; an MSI can, as its address is the
 * guest's: what arrives during one is ignored (in_dma), but for a reset, which is put
 * off.
 */
#include "qemu/osdep.h"
#include "link.h"
#include "vectors.h"
#include "window.h"

#define TYPE_VGPU_STUB "vgpu-stub"
#define VGPU_STUB(obj) OBJECT_CHECK(VGPUStub, (obj), TYPE_VGPU_STUB)

/* Window sizes: what firmware and kernels find room for without being told anything. */
#define WINDOW_AUTO          UINT64_MAX
#define WINDOW_DEFAULT_BYTES (8ull << 30)
/* Channel page and rings of the largest size, with room to spare. */
#define HEAD_MAX_BYTES (16ull << 20)

struct VGPUStub {
    PCIDevice parent;
    VGPUCharFrontend chr;
    char *pool_id;
    char *priority;
    uint32_t vm_id;
    uint64_t window_size;
    OnOffAuto ioeventfd;
    bool irqfd;
    OnOffAuto grants;

    MemoryRegion registers;
    MemoryRegion doorbells;
    VGPUWindow *window; /* NULL: none */
    VGPUVectors *vectors;
    QEMUBH *reset_bh;
    VGPULink *link;
    VGPUSlots *slots;
    VGPUMonitor *monitor;
    VGPUJob *job;

    uint32_t irq_status; /* without VGPU_IRQ_CHANNEL, which follows from `channels` */
    uint32_t irq_enable;
    uint64_t channels; /* slots with something new, under INTx */
    uint64_t commands;
    uint64_t counter[VGPU_DEVICE_COUNTERS];
    bool in_dma;
};

/* Guest memory */

/*
 * Up to *len bytes of guest RAM, or NULL where there is none, or no right to it:
 * address_space_map would read and write devices as well, by a copy.
 */
static void *map_ram(VGPUStub *s, uint64_t addr, hwaddr *len, bool write)
{
    AddressSpace *as = pci_get_address_space(PCI_DEVICE(s));
    MemoryRegion *mr;
    hwaddr offset;
    bool usable;

    rcu_read_lock();
    mr = address_space_translate(as, addr, &offset, len, write, MEMTXATTRS_UNSPECIFIED);
    usable = memory_region_is_ram(mr) && !memory_region_is_ram_device(mr) &&
             !(write && memory_region_is_rom(mr));
    rcu_read_unlock();
    return usable ? address_space_map(as, addr, len, write, MEMTXATTRS_UNSPECIFIED)
                  : NULL;
}

static void unmap_ram(VGPUStub *s, void *at, hwaddr len, bool write)
{
    address_space_unmap(pci_get_address_space(PCI_DEVICE(s)), at, len, write, len);
}

static bool dma_copy(VGPUStub *s, uint64_t addr, uint8_t *to, const uint8_t *from,
                     uint32_t len)
{
    bool write = from != NULL;

    if (addr + len < addr) {
        return false;
    }
    while (len) {
        hwaddr part = len;
        void *at = map_ram(s, addr, &part, write);

        if (!at) {
            return false;
        }
        if (write) {
            memcpy(at, from, part);
            from += part;
        } else {
            memcpy(to, at, part);
            to += part;
        }
        unmap_ram(s, at, part, write);
        addr += part;
        len -= part;
    }
    return true;
}

bool vgpu_dma_read(VGPUStub *s, uint64_t addr, void *buf, uint32_t len)
{
    return dma_copy(s, addr, buf, NULL, len);
}

bool vgpu_dma_write(VGPUStub *s, uint64_t addr, const void *buf, uint32_t len)
{
    return dma_copy(s, addr, NULL, buf, len);
}

/* A line of `size` bytes, mapped; RAM regions end at pages, so an aligned line is in one.
 */
static void *map_line(VGPUStub *s, uint64_t addr, unsigned size, bool write)
{
    hwaddr len = size;
    void *at;

    if (addr & (size - 1)) {
        return NULL;
    }
    at = map_ram(s, addr, &len, write);
    if (at && len < size) {
        unmap_ram(s, at, len, write);
        return NULL;
    }
    return at;
}

/* Acquire: pairs with the guest's release when it publishes. */
bool vgpu_dma_load32(VGPUStub *s, uint64_t addr, uint32_t *ret)
{
    uint32_t *at = map_line(s, addr, sizeof(*at), false);

    if (!at) {
        return false;
    }
    *ret = le32_to_cpu(__atomic_load_n(at, __ATOMIC_ACQUIRE));
    unmap_ram(s, at, sizeof(*at), false);
    return true;
}

/* Release: pairs with the guest's acquire when it looks. */
bool vgpu_dma_store32(VGPUStub *s, uint64_t addr, uint32_t value)
{
    uint32_t *at = map_line(s, addr, sizeof(*at), true);

    if (!at) {
        return false;
    }
    __atomic_store_n(at, cpu_to_le32(value), __ATOMIC_RELEASE);
    unmap_ram(s, at, sizeof(*at), true);
    return true;
}

/* Release, likewise. */
bool vgpu_dma_store64(VGPUStub *s, uint64_t addr, uint64_t value)
{
    uint64_t *at = map_line(s, addr, sizeof(*at), true);

    if (!at) {
        return false;
    }
    __atomic_store_n(at, cpu_to_le64(value), __ATOMIC_RELEASE);
    unmap_ram(s, at, sizeof(*at), true);
    return true;
}

uint64_t vgpu_commands_address(const VGPUStub *s)
{
    return s->commands;
}

void vgpu_count(VGPUStub *s, enum vgpu_device_counter counter, uint64_t n)
{
    s->counter[counter] += n;
}

/* Interrupts */

static uint32_t irq_pending(const VGPUStub *s)
{
    return s->irq_status | (s->channels ? VGPU_IRQ_CHANNEL : 0);
}

static void notify(VGPUStub *s, uint32_t vector)
{
    bool nested = s->in_dma;

    s->in_dma = true;
    msix_notify(PCI_DEVICE(s), vector);
    s->in_dma = nested;
}

/* The pin follows what is pending; MSI-X has edges: `news` may raise one. */
static void update_irq(VGPUStub *s, uint32_t news)
{
    PCIDevice *pci = PCI_DEVICE(s);

    if (msix_enabled(pci)) {
        if (news & s->irq_enable & ~VGPU_IRQ_CHANNEL) {
            notify(s, 0);
        }
    } else {
        pci_set_irq(pci, (irq_pending(s) & s->irq_enable) != 0);
    }
}

void vgpu_interrupt(VGPUStub *s, uint32_t bits)
{
    s->irq_status |= bits & VGPU_IRQ_ALL & ~VGPU_IRQ_CHANNEL;
    update_irq(s, bits);
}

void vgpu_interrupt_channel(VGPUStub *s, uint32_t slot, uint32_t vector)
{
    vgpu_count(s, VGPU_COUNT_INTERRUPTS, 1);
    if (msix_enabled(PCI_DEVICE(s))) {
        notify(s, vector);
    } else {
        s->channels |= 1ull << slot;
        update_irq(s, VGPU_IRQ_CHANNEL);
    }
}

/* The window and the doorbells */

bool vgpu_grants(const VGPUStub *s)
{
    return vgpu_link_state(s->link)->grants;
}

VGPUWindow *vgpu_window(VGPUStub *s)
{
    return s->window;
}

MemoryRegion *vgpu_doorbells(VGPUStub *s)
{
    return &s->doorbells;
}

bool vgpu_use_ioeventfd(const VGPUStub *s)
{
    return s->ioeventfd == ON_OFF_AUTO_AUTO ? vgpu_kvm_ioeventfd()
                                            : s->ioeventfd == ON_OFF_AUTO_ON;
}

VGPUVectors *vgpu_vectors_of_pci(PCIDevice *pci)
{
    return VGPU_STUB(pci)->vectors;
}

VGPUVectors *vgpu_vectors(VGPUStub *s)
{
    return s->vectors;
}

/* Reset */

static void reset_state(VGPUStub *s)
{
    s->irq_status = 0;
    s->irq_enable = 0;
    s->channels = 0;
    s->commands = 0;
    memset(s->counter, 0, sizeof(s->counter));
    update_irq(s, 0);
    vgpu_slots_reset(s->slots);
    vgpu_monitor_reset(s->monitor);
    vgpu_job_reset(s->job);
}

static void reset_later(void *opaque)
{
    reset_state(opaque);
}

static void reset_now(VGPUStub *s)
{
    if (s->in_dma) {
        qemu_bh_schedule(s->reset_bh);
    } else {
        reset_state(s);
    }
}

/* Registers */

static uint32_t text_word(const char *text, size_t size, hwaddr offset)
{
    uint32_t word = 0;

    if (offset + sizeof(word) <= size) {
        memcpy(&word, text + offset, sizeof(word));
    }
    return le32_to_cpu(word);
}

/* What a window has room for if it is empty, or what a relay reaches. */
static uint32_t max_data_pages(const VGPUStub *s, const VGPULinkState *state)
{
    uint64_t window = vgpu_window_bytes(s->window);
    uint64_t most = VGPU_RELAY_MAX_DATA_BYTES;

    if (window > most + HEAD_MAX_BYTES) {
        most = window - HEAD_MAX_BYTES;
    }
    return MIN(state->max_data_bytes, most) >> 12;
}

static uint32_t identity_read(VGPUStub *s, hwaddr addr)
{
    const VGPULinkState *state = vgpu_link_state(s->link);

    switch (addr) {
    case VGPU_REG_MAGIC:
        return VGPU_MAGIC;
    case VGPU_REG_VERSION:
        return VGPU_VERSION_MAJOR << 16 | VGPU_VERSION_MINOR;
    case VGPU_REG_FEATURES:
        return VGPU_DEVICE_JOB | VGPU_DEVICE_RELAY | VGPU_DEVICE_MONITOR |
               (s->window ? VGPU_DEVICE_WINDOW : 0) |
               (vgpu_grants(s) ? VGPU_DEVICE_GRANT : 0);
    case VGPU_REG_STATUS:
        return state->state | (state->quarantined ? VGPU_STATUS_QUARANTINED : 0);
    case VGPU_REG_ERROR:
        return state->error;
    case VGPU_REG_VM_ID:
        return state->vm_id;
    case VGPU_REG_PRIORITY:
        return state->priority;
    case VGPU_REG_WEIGHT:
        return state->weight_hundredths;
    case VGPU_REG_MAX_CHANNELS:
        return MIN(state->max_channels, VGPU_SLOTS);
    case VGPU_REG_MAX_DATA:
        return max_data_pages(s, state);
    case VGPU_REG_GENERATION:
        return state->generation;
    default:
        return 0;
    }
}

static uint32_t control_read(VGPUStub *s, hwaddr addr)
{
    switch (addr) {
    case VGPU_REG_IRQ_STATUS:
        return irq_pending(s);
    case VGPU_REG_IRQ_ENABLE:
        return s->irq_enable;
    case VGPU_REG_CHANNELS_LOW:
        return s->channels;
    case VGPU_REG_CHANNELS_HIGH:
        return s->channels >> 32;
    case VGPU_REG_COMMANDS_LOW:
        return s->commands;
    case VGPU_REG_COMMANDS_HIGH:
        return s->commands >> 32;
    default:
        return 0;
    }
}

static uint32_t text_read(VGPUStub *s, hwaddr addr)
{
    const VGPULinkState *state = vgpu_link_state(s->link);

    if (addr >= VGPU_REG_ERROR_TEXT) {
        return text_word(state->error_text, sizeof(state->error_text),
                         addr - VGPU_REG_ERROR_TEXT);
    }
    if (addr >= VGPU_REG_NAME) {
        return text_word(state->name, sizeof(state->name), addr - VGPU_REG_NAME);
    }
    return text_word(state->pool, sizeof(state->pool), addr - VGPU_REG_POOL);
}

static uint32_t counter_read(VGPUStub *s, hwaddr offset)
{
    if (offset >= sizeof(s->counter)) {
        return 0;
    }
    return s->counter[offset / 8] >> (offset & 4 ? 32 : 0);
}

/* Only whole registers are accessed, and not by the device itself. */
static bool access_allowed(const VGPUStub *s, hwaddr addr, unsigned size)
{
    return size == sizeof(uint32_t) && !(addr & 3) && !s->in_dma;
}

static uint64_t registers_read(void *opaque, hwaddr addr, unsigned size)
{
    VGPUStub *s = opaque;

    if (!access_allowed(s, addr, size)) {
        return UINT64_MAX;
    }
    if (addr >= VGPU_REG_JOB_OP) {
        return vgpu_job_read(s->job, addr);
    }
    if (addr >= VGPU_REG_POOL) {
        return text_read(s, addr);
    }
    if (addr >= VGPU_REG_COUNTERS) {
        return counter_read(s, addr - VGPU_REG_COUNTERS);
    }
    return addr >= VGPU_REG_IRQ_STATUS ? control_read(s, addr) : identity_read(s, addr);
}

static void control_write(VGPUStub *s, hwaddr addr, uint32_t value)
{
    uint32_t enabled;

    switch (addr) {
    case VGPU_REG_IRQ_STATUS:
        s->irq_status &= ~value;
        update_irq(s, 0);
        break;
    case VGPU_REG_IRQ_ENABLE:
        enabled = value & ~s->irq_enable;
        s->irq_enable = value & VGPU_IRQ_ALL;
        update_irq(s, enabled & irq_pending(s));
        break;
    case VGPU_REG_CHANNELS_LOW:
        s->channels &= ~(uint64_t)value;
        update_irq(s, 0);
        break;
    case VGPU_REG_CHANNELS_HIGH:
        s->channels &= ~((uint64_t)value << 32);
        update_irq(s, 0);
        break;
    case VGPU_REG_COMMANDS_LOW:
        s->commands = (s->commands & ~0xffffffffull) | (value & ~7u);
        break;
    case VGPU_REG_COMMANDS_HIGH:
        s->commands = (s->commands & 0xffffffffull) | (uint64_t)value << 32;
        break;
    case VGPU_REG_COMMAND:
        if (value == VGPU_MONITOR_SLOT) {
            vgpu_monitor_command(s->monitor);
        } else {
            vgpu_slots_command(s->slots, value);
        }
        break;
    default:
        break;
    }
}

static void registers_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    VGPUStub *s = opaque;

    if (size == sizeof(uint32_t) && addr == VGPU_REG_CONTROL) {
        if (value & VGPU_CONTROL_RESET) {
            reset_now(s);
        }
        return;
    }
    if (!access_allowed(s, addr, size)) {
        return;
    }
    if (addr >= VGPU_REG_JOB_OP) {
        vgpu_job_write(s->job, addr, value);
    } else {
        control_write(s, addr, value);
    }
}

static uint64_t doorbells_read(void *opaque, hwaddr addr, unsigned size)
{
    return access_allowed(opaque, addr, size) ? 0 : UINT64_MAX;
}

static void doorbells_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    VGPUStub *s = opaque;

    if (access_allowed(s, addr, size) && addr % VGPU_DOORBELL_PAGE_BYTES == 0) {
        vgpu_count(s, VGPU_COUNT_DOORBELLS, 1);
        vgpu_slots_doorbell(s->slots, addr / VGPU_DOORBELL_PAGE_BYTES);
    }
}

/* Every size and alignment comes here, so that what is refused is refused in one way. */
static const MemoryRegionOps registers_ops = {
    .read = registers_read,
    .write = registers_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

static const MemoryRegionOps doorbells_ops = {
    .read = doorbells_read,
    .write = doorbells_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

/* The device's life */

static bool claimed_priority(const char *name, uint32_t *ret, Error **errp)
{
    static const char *const names[] = {"low", "medium", "high"};

    *ret = 0;
    if (!name) {
        return true;
    }
    for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = i;
            return true;
        }
    }
    error_setg(errp, "vgpu-stub: priority is low, medium or high, not '%s'", name);
    return false;
}

static bool claims_of(VGPUStub *s, VGPUClaims *ret, Error **errp)
{
    ret->vm_id = s->vm_id;
    ret->window_bytes = s->window_size;
    ret->grants =
        s->grants == ON_OFF_AUTO_AUTO ? xen_enabled() : s->grants == ON_OFF_AUTO_ON;
    ret->pool = s->pool_id;
    if (s->pool_id && strlen(s->pool_id) >= VGPU_NAME_BYTES) {
        error_setg(errp, "vgpu-stub: pool_id has more than %u bytes",
                   VGPU_NAME_BYTES - 1);
        return false;
    }
    return claimed_priority(s->priority, &ret->priority, errp);
}

static bool choose_window(VGPUStub *s, Error **errp)
{
    uint64_t bytes = s->window_size;

    if (bytes == WINDOW_AUTO) {
        s->window_size = xen_enabled() ? 0 : WINDOW_DEFAULT_BYTES;
    } else if (bytes && xen_enabled()) {
        error_setg(errp, "vgpu-stub: Xen cannot map a window; use window-size=0");
        return false;
    } else if (bytes && (bytes < VGPU_WINDOW_MIN_BYTES || bytes > VGPU_WINDOW_MAX_BYTES ||
                         !is_power_of_2(bytes))) {
        error_setg(errp,
                   "vgpu-stub: window-size is 0 or a power of two from %" PRIu64
                   " to %" PRIu64 " MiB",
                   (uint64_t)VGPU_WINDOW_MIN_BYTES >> 20,
                   (uint64_t)VGPU_WINDOW_MAX_BYTES >> 20);
        return false;
    }
    return true;
}

static bool init_window(VGPUStub *s, Error **errp)
{
    if (s->window_size) {
        s->window = vgpu_window_new(PCI_DEVICE(s), s->window_size, errp);
    }
    return s->window || !s->window_size;
}

static bool init_bars(VGPUStub *s, Error **errp)
{
    PCIDevice *pci = PCI_DEVICE(s);

    pci_config_set_interrupt_pin(pci->config, 1);
    if (msix_init_exclusive_bar(pci, VGPU_MSIX_VECTORS, VGPU_BAR_MSIX, errp) < 0) {
        return false;
    }
    for (unsigned vector = 0; vector < VGPU_MSIX_VECTORS; vector++) {
        msix_vector_use(pci, vector);
    }
    memory_region_init_io(&s->registers, OBJECT(s), &registers_ops, s, "vgpu-registers",
                          VGPU_REGISTERS_BYTES);
    memory_region_init_io(&s->doorbells, OBJECT(s), &doorbells_ops, s, "vgpu-doorbells",
                          VGPU_DOORBELL_BYTES);
    pci_register_bar(pci, VGPU_BAR_REGISTERS, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->registers);
    pci_register_bar(pci, VGPU_BAR_DOORBELLS, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->doorbells);
    return true;
}

static void vgpu_stub_realize(PCIDevice *pci, Error **errp)
{
    VGPUStub *s = VGPU_STUB(pci);
    VGPUClaims claims;

    if (!choose_window(s, errp) || !claims_of(s, &claims, errp) ||
        !init_window(s, errp) || !init_bars(s, errp)) {
        return;
    }
    s->link = vgpu_link_new(s, &s->chr, &claims, errp);
    if (!s->link) {
        msix_uninit_exclusive_bar(pci);
        return;
    }
    s->reset_bh = qemu_bh_new(reset_later, s);
    s->vectors = vgpu_vectors_new(pci, s->irqfd);
    s->slots = vgpu_slots_new(s, s->link);
    s->monitor = vgpu_monitor_new(s, s->link);
    s->job = vgpu_job_new(s, s->link);
}

static void vgpu_stub_exit(PCIDevice *pci)
{
    VGPUStub *s = VGPU_STUB(pci);

    vgpu_job_free(s->job);
    vgpu_slots_free(s->slots);
    vgpu_vectors_free(s->vectors);
    vgpu_monitor_free(s->monitor);
    vgpu_link_free(s->link);
    qemu_bh_delete(s->reset_bh);
    msix_uninit_exclusive_bar(pci);
}

static void vgpu_stub_write_config(PCIDevice *pci, uint32_t address, uint32_t value,
                                   int size)
{
    pci_default_write_config(pci, address, value, size);
    vgpu_vectors_update(VGPU_STUB(pci)->vectors);
}

static void vgpu_stub_finalize(Object *object)
{
    vgpu_window_free(VGPU_STUB(object)->window);
}

static void vgpu_stub_reset(DeviceState *device)
{
    reset_now(VGPU_STUB(device));
}

VGPU_PROPERTIES vgpu_stub_properties[] = {
    DEFINE_PROP_CHR("chardev", VGPUStub, chr),
    DEFINE_PROP_UINT32("vm_id", VGPUStub, vm_id, 0),
    DEFINE_PROP_STRING("pool_id", VGPUStub, pool_id),
    DEFINE_PROP_STRING("priority", VGPUStub, priority),
    DEFINE_PROP_SIZE("window-size", VGPUStub, window_size, WINDOW_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("ioeventfd", VGPUStub, ioeventfd, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_BOOL("irqfd", VGPUStub, irqfd, true),
    DEFINE_PROP_ON_OFF_AUTO("grants", VGPUStub, grants, ON_OFF_AUTO_AUTO),
    VGPU_PROPERTIES_END};

/* Its channels live in processes of this host. */
static const VMStateDescription vgpu_stub_vmstate = {
    .name = TYPE_VGPU_STUB,
    .unmigratable = 1,
};

static void vgpu_stub_class_init(ObjectClass *class, VGPUClassData *data)
{
    DeviceClass *device = DEVICE_CLASS(class);
    PCIDeviceClass *pci = PCI_DEVICE_CLASS(class);

    pci->realize = vgpu_stub_realize;
    pci->exit = vgpu_stub_exit;
    pci->config_write = vgpu_stub_write_config;
    pci->vendor_id = VGPU_PCI_VENDOR;
    pci->device_id = VGPU_PCI_DEVICE;
    pci->class_id = VGPU_PCI_CLASS;
    pci->revision = VGPU_VERSION_MAJOR;
    device->desc = "GPU of the host, by vgpu-mediator";
    device->vmsd = &vgpu_stub_vmstate;
    vgpu_set_reset(device, vgpu_stub_reset);
    device_class_set_props(device, vgpu_stub_properties);
    set_bit(DEVICE_CATEGORY_MISC, device->categories);
}

static const TypeInfo vgpu_stub_info = {
    .name = TYPE_VGPU_STUB,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(VGPUStub),
    .instance_finalize = vgpu_stub_finalize,
    .class_init = vgpu_stub_class_init,
    .interfaces = (InterfaceInfo[]){{INTERFACE_CONVENTIONAL_PCI_DEVICE}, {}},
};

static void vgpu_stub_register(void)
{
    type_register_static(&vgpu_stub_info);
}

type_init(vgpu_stub_register)
