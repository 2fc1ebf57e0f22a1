#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The configuration as a whole, through a mediator that runs: exported, imported, changed by two.

What an import says is in force when it is answered; what is refused, or only tried, leaves VMs as
they are.
"""
import json
import os
import sys

from stack import Stack, run, wait_for

VMS = [(1, 'A', 'high'), (2, 'A', 'low'), (3, 'B', 'medium')]


def runs(stack, vm):
    return stack.client(vm, 'vector-add', '2', '3').returncode == 0


def export(stack):
    return stack.admin_json('export')


def save(stack, config):
    path = stack.path('keep.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(config, file)
    return path


def rows(stack):
    return {row['vm_id']: row for row in stack.admin_json('status')['vms']}


def test_e2e_config_import_is_live():
    with Stack(vms=VMS) as stack:
        config = export(stack)
        for vm in config['vms']:
            vm['pool'] = 'B'
        config['vms'][0]['quarantine_reason'] = 'it mines'
        del config['vms'][1]
        config['vms'].append({'vm_id': 4, 'pool': 'C', 'name': 'new', 'weight': 70})
        config['pools'] = [{'pool': 'B', 'policy': 'strict'}, {'pool': 'C'}]
        config['gpus'][0]['pools'] = ['B', 'C']
        result = stack.admin_json('import', save(stack, config), '--prune')
        assert result['changed'] and result['changes'], result
        shown = rows(stack)
        assert sorted(shown) == [1, 3, 4], shown
        assert [shown[vm]['pool'] for vm in (1, 3, 4)] == ['B', 'B', 'C'], shown
        assert shown[1]['state'] == 'quarantined' and shown[4]['weight'] == 70, shown
        assert [pool['pool'] for pool in stack.admin_json('status')['pools']] == ['B', 'C']
        assert runs(stack, 3) and runs(stack, 4) and not runs(stack, 1)
        assert not os.path.exists(stack.vm_socket(2)), 'the VM that was pruned'


def test_e2e_config_round_trip_disturbs_nobody():
    with Stack(vms=VMS) as stack:
        text = stack.admin('export')
        holder = stack.client_start(1, 'hold')
        wait_for(lambda: rows(stack)[1]['channels'] == 1, 20, 'a channel')
        for _ in range(3):
            assert not stack.admin_json('import', save(stack, json.loads(text)), '--prune')['changed']
        stack.admin('set-weight', '1', '80')
        stack.admin('assign-vms', '1-2', 'B')
        stack.admin('import', save(stack, json.loads(text)), '--prune')
        assert stack.admin('export') == text
        assert holder.poll() is None and rows(stack)[1]['channels'] == 1
        holder.kill()
        holder.wait()
        stack.kill_mediator()
        stack.start_mediator()
        assert stack.admin('export') == text


def gpu_state(stack):
    return stack.admin_json('health')['gpus'][0]['state']


def test_e2e_config_import_drains_and_warns():
    with Stack(vms=VMS) as stack:
        text = stack.admin('export')
        config = json.loads(text)
        wait_for(lambda: gpu_state(stack) == 'ok', 10, 'a healthy GPU')
        config['gpus'][0].update(drained=True, drain_reason='fans')
        config['thresholds'] = [{'name': 'temperature-warm', 'value': 1, 'action': 'warn'}]
        stack.admin('import', save(stack, config))
        assert gpu_state(stack) == 'draining' and not runs(stack, 1)
        stack.admin('import', save(stack, json.loads(text)), '--prune')
        wait_for(lambda: gpu_state(stack) == 'ok', 10, 'a healthy GPU again')
        assert stack.admin('export') == text and runs(stack, 1)


def test_e2e_config_dry_run_changes_nothing():
    with Stack(vms=VMS) as stack:
        before = stack.admin('export'), stack.admin('audit'), stack.admin('list-vms', '--json')
        empty = save(stack, {'format': 1, 'pools': [], 'vms': [], 'gpus': []})
        shown = stack.admin('import', empty, '--prune', '--dry-run')
        assert 'nothing is changed' in shown and 'VM 3: removed' in shown, shown
        assert stack.admin_json('remove-vm', '1', '--dry-run')['dry_run']
        assert stack.admin_json('assign-vms', '1-9', 'B', '--register', '--dry-run')['dry_run']
        assert stack.admin_json('scan-gpus', '--dry-run')['dry_run']
        after = stack.admin('export'), stack.admin('audit'), stack.admin('list-vms', '--json')
        assert before == after
        assert sorted(rows(stack)) == [1, 2, 3] and runs(stack, 1)


def test_e2e_config_refused_import_changes_nothing():
    with Stack(vms=VMS) as stack:
        before = stack.admin('export')
        config = export(stack)
        config['vms'][0]['weight'] = 99
        config['vms'][2]['pool'] = 'nowhere'
        refused = stack.admin_run('import', save(stack, config))
        assert refused.returncode == 1, refused
        assert "vms[2]: pool 'nowhere' does not exist (have: A, B)" in refused.stderr, refused
        assert stack.admin('export') == before and runs(stack, 1)


def test_e2e_config_second_administrator_is_told():
    with Stack(vms=VMS) as stack:
        seen = stack.admin_json('show-vm', '1')['vm']['revision']
        stack.admin('set-weight', '1', '80', '--if-revision=%d' % seen)
        late = stack.admin_run('set-weight', '1', '20', '--if-revision=%d' % seen)
        assert late.returncode == 1, late
        assert 'VM 1 has revision %d, not %d; changed by: uid=%d pid=' % (
            seen + 1, seen, os.getuid()) in late.stderr, late
        assert '(set-weight: weight 50.0 to 80.0)' in late.stderr, late
        assert rows(stack)[1]['weight'] == 80
        one = save(stack, {'format': 1, 'vms': [{'vm_id': 1, 'weight': 30, 'priority': 'low'}]})
        assert stack.admin_run('import', one, '--if-revision=%d' % seen).returncode == 1
        stack.admin('import', one, '--if-revision=%d' % (seen + 1))
        assert (rows(stack)[1]['weight'], rows(stack)[1]['priority']) == (30, 'low')
        last = stack.admin_json('audit', '--vm=1', '--limit=1')['audit'][0]
        assert (last['command'], last['after']['weight']) == ('import', 30), last


def test_e2e_config_many_vms_and_their_capacity():
    with Stack(vms=[(1, 'A', 'high'), (20, 'B', 'medium')]) as stack:
        stack.admin('assign-vms', '--vms=1-7', '--pool=A', '--register')
        stack.admin('assign-vms', '8-20', 'B', '--register')
        shown = rows(stack)
        assert all(shown[vm]['pool'] == ('A' if vm <= 7 else 'B') for vm in range(1, 21)), shown
        assert runs(stack, 7) and runs(stack, 8)
        stack.admin('set-max-vms', 'A', '7')
        pools = {pool['pool']: pool for pool in stack.admin_json('capacity')['pools']}
        assert not pools['A']['admits'] and pools['B']['admits'], pools
        assert pools['B']['gpus_healthy'] == 1, pools
        refused = stack.request('assign-vms', vms='8-9', pool='A')
        assert refused['error']['code'] == 'limit', refused
        assert rows(stack)[8]['pool'] == 'B'


if __name__ == '__main__':
    sys.exit(run([value for name, value in list(globals().items()) if name.startswith('test_')]))
