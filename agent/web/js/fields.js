// SPDX-License-Identifier: Apache-2.0
// The settings of VMs and pools: name, unit, range and meaning, as docs/spec/admin.md has them.
// One table for the dialogs, for what a change is described with, and for the details pages. Pure.

export const PRIORITIES = [
  { value: 'high', label: 'High' },
  { value: 'medium', label: 'Medium' },
  { value: 'low', label: 'Low' },
];

export const POLICIES = [
  { value: 'wfq', label: 'Fair shares' },
  { value: 'strict', label: 'Strict priority' },
];

const MIB = 1024 * 1024;

/** `factor`: what one of the shown unit is in the API's unit. `zero`: what 0 means. */
export const VM_LIMITS = [
  {
    name: 'memory_bytes',
    label: 'GPU memory',
    unit: 'MiB',
    factor: MIB,
    min: 1,
    max: 16 * MIB,
    zero: 'no limit',
    help: 'All that this VM may hold on the GPU.',
  },
  {
    name: 'process_memory_bytes',
    label: 'GPU memory of each process',
    unit: 'MiB',
    factor: MIB,
    min: 1,
    max: 16 * MIB,
    zero: 'no limit',
    help: 'The smaller of the two limits counts.',
  },
  {
    name: 'rate_per_s',
    label: 'Jobs per second',
    unit: 'jobs/s',
    min: 1,
    max: 1e9,
    zero: 'no limit',
    help: 'A job is one launch, copy or fill.',
  },
  {
    name: 'burst',
    label: 'Burst',
    unit: 'jobs',
    min: 1,
    max: 1e9,
    zero: 'none',
    help: 'Jobs that may come at once before the rate counts.',
  },
  {
    name: 'depth',
    label: 'Queue depth',
    unit: 'jobs',
    min: 1,
    max: 65536,
    zero: '4096',
    help: 'Jobs taken in and not yet done.',
  },
  {
    name: 'bytes_in_flight',
    label: 'Copies in flight',
    unit: 'MiB',
    factor: MIB,
    min: 1,
    max: MIB,
    zero: 'no limit',
    help: 'Bytes of copies taken in and not yet done.',
  },
  {
    name: 'job_timeout_ms',
    label: 'Job timeout',
    unit: 's',
    factor: 1000,
    min: 0.01,
    max: 86400,
    zero: '30 s',
    help: 'A job that runs longer on the GPU is ended, and counts as a fault.',
  },
  {
    name: 'fault_threshold',
    label: 'Faults until quarantine',
    unit: 'faults',
    min: 1,
    max: 1000,
    zero: '5',
    help: 'This many faults within the window put the VM into quarantine.',
  },
  {
    name: 'fault_window_s',
    label: 'Fault window',
    unit: 'min',
    factor: 60,
    min: 1 / 60,
    max: 525600,
    zero: '60 min',
    help: 'Older faults no longer count.',
  },
];

export const POOL_SETTINGS = [
  {
    name: 'weight_hundredths',
    label: 'Weight among pools',
    unit: '',
    factor: 100,
    min: 1,
    max: 100,
    zero: 'none: pools on one GPU share one queue',
    help: 'Divides a GPU between the pools on it.',
  },
  {
    name: 'slice_us',
    label: 'Turn',
    unit: 'ms',
    factor: 1000,
    min: 0.1,
    max: 10000,
    zero: '10 ms',
    help: 'How long a VM keeps the GPU while others wait.',
  },
  {
    name: 'grace_us',
    label: 'Grace',
    unit: 'ms',
    factor: 1000,
    min: 0.001,
    max: 10000,
    zero: '3 ms',
    help: 'Past its turn by this much, the next VM runs beside it.',
  },
  {
    name: 'max_wait_ms',
    label: 'Longest wait',
    unit: 's',
    factor: 1000,
    min: 0.001,
    max: 86400,
    zero: '10 s',
    help: 'Who has waited longer is served next.',
  },
  {
    name: 'urgency_us',
    label: 'Urgency',
    unit: 'ms',
    factor: 1000,
    min: 0.001,
    max: 10000,
    zero: '10 ms',
    help: 'The most that a long queue moves a VM forward.',
  },
  {
    name: 'max_vms',
    label: 'VMs at most',
    unit: 'VMs',
    min: 1,
    max: 1024,
    zero: 'no limit',
    help: 'More are refused.',
  },
];

const LABELS = {
  pool: 'Pool',
  pools: 'Pools',
  priority: 'Priority',
  weight: 'Weight',
  policy: 'Policy',
  description: 'Description',
  name: 'Name',
  uuid: 'UUID',
  quarantined: 'Quarantined',
  quarantine_reason: 'Reason',
  drained: 'Drained',
  drain_reason: 'Reason',
  faults: 'Faults that count',
  faults_total: 'Faults in all',
  gpus: 'GPUs',
  vms: 'VMs',
  index: 'Number in NVML',
  numa_node: 'NUMA node',
  mig_mode: 'MIG partitions',
  driver: 'Kernel driver',
  source: 'Found by',
  gpu_id: 'GPU',
  state: 'State',
  model: 'Model',
  pci: 'PCI address',
  value: 'Limit',
  action: 'What happens',
};

const ALL = new Map([...VM_LIMITS, ...POOL_SETTINGS].map((field) => [field.name, field]));

export function labelOf(key) {
  return ALL.get(key)?.label ?? LABELS[key] ?? key.replaceAll('_', ' ');
}

const fixed = (number) => String(Math.round(number * 1000) / 1000);

/** A setting's value with its unit. */
export function showSetting(key, value) {
  const field = ALL.get(key);
  if (field && typeof value === 'number') {
    if (value === 0) return field.zero;
    return `${fixed(value / (field.factor ?? 1))} ${field.unit}`.trim();
  }
  if (value === null || value === undefined || value === '') return 'none';
  if (value === true) return 'yes';
  if (value === false) return 'no';
  if (Array.isArray(value)) return value.length ? value.join(', ') : 'none';
  const option = [...PRIORITIES, ...POLICIES].find((choice) => choice.value === value);
  if (option && (key === 'priority' || key === 'policy')) return option.label;
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

/** What stands in the input for a value of the API. */
export const toInput = (field, value) => fixed((value ?? 0) / (field.factor ?? 1));

/** The API's value of what was typed; throws an Error with a message for the person. */
export function fromInput(field, text) {
  const typed = text.trim().replace(',', '.');
  const number = typed === '' ? 0 : Number(typed);
  if (!/^\d*\.?\d*$/.test(typed) || !Number.isFinite(number)) throw new Error('Write a number');
  if (number !== 0 && (number < field.min || number > field.max)) {
    throw new Error(
      `From ${fixed(field.min)} to ${field.max}${field.unit ? ` ${field.unit}` : ''},` +
        ` or 0: ${field.zero}`,
    );
  }
  return Math.round(number * (field.factor ?? 1));
}
