"""peer_flower.py - one session of Flower's SecAgg+, its own workflow and client mod, in one process.

Started by secagg.py with the python of the peer's virtual environment; prints one JSON object. No
network: the grid hands each message to the mod as a copy, which no clock counts. Processor time of
the process: Flower's secret sharing uses threads of its own.
"""
import argparse
import copy
import json
import logging
import random
import statistics
import time

import flwr
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat as compat
from flwr.server import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation import SecAggPlusWorkflow
from flwr.serverapp.grid import Grid

try:  # newer versions read who they are from the process
    from flwr.supercore.task_identity import TaskIdentity
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
except ImportError:
    pass

CLIP, LEVELS, MAX_WEIGHT = 8.0, 1 << 22, 1000.0  # the workflow's own defaults
STAGES = (Stage.SETUP, Stage.SHARE_KEYS, Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK)


class OneProcess(Grid):
    """Runs each client's mod where the server would send a message, and keeps both clocks."""

    def __init__(self, updates, weights, dropped):
        self.updates, self.weights, self.dropped = updates, weights, dropped
        self.contexts = {nid: Context(1, nid, {}, RecordDict(), {}) for nid in updates}
        self.client_s = {stage: [] for stage in STAGES}
        self.in_clients = 0.0       # all that is not the server's
        self.last_upload = None     # server clock when the last masked vector was there
        self.upload_bytes = 0
        self.start = time.process_time()

    def server_clock(self):
        return time.process_time() - self.start - self.in_clients

    def train(self, msg, _context):
        """What the app under the mod would do: here the update is ready."""
        began = time.process_time()
        nid = msg.metadata.dst_node_id
        result = FitRes(Status(Code.OK, ""), self.updates[nid], self.weights[nid], {})
        reply = Message(compat.fitres_to_recorddict(result, True), reply_to=msg)
        self.train_s += time.process_time() - began
        return reply

    def answer(self, msg, stage):
        nid = msg.metadata.dst_node_id
        if stage == Stage.COLLECT_MASKED_VECTORS and nid in self.dropped:
            return Message(Error(0, "gone"), reply_to=msg)
        self.train_s = 0.0
        began = time.process_time()
        reply = secaggplus_mod(msg, self.contexts[nid], self.train)
        self.client_s[stage].append(time.process_time() - began - self.train_s)
        return reply

    def send_and_receive(self, messages, *, timeout=None):
        began = time.process_time()
        replies = []
        for message in messages:
            message = copy.deepcopy(message)
            stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
            replies.append(self.answer(message, stage))
        if stage == Stage.COLLECT_MASKED_VECTORS:
            self.upload_bytes = sum(len(b) for r in replies if not r.has_error() for b in
                                    r.content.config_records[RECORD_KEY_CONFIGS]
                                    [Key.MASKED_PARAMETERS])
        self.in_clients += time.process_time() - began
        if stage == Stage.COLLECT_MASKED_VECTORS:
            self.last_upload = self.server_clock()
        return replies

    def get_node_ids(self):
        return list(self.updates)

    # Not used by the workflow.
    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError


class StopAtTheSum(FedAvg):
    """The clock stops when the workflow hands over the sum: averaging copies of it is no part."""

    def __init__(self, grid):
        super().__init__(fraction_fit=1.0)
        self.grid, self.done, self.mean = grid, None, None

    def aggregate_fit(self, server_round, results, failures):
        self.done = self.grid.server_clock()
        self.mean = parameters_to_ndarrays(results[0][1].parameters)[0]
        return None, {}


def session(o):
    rng = np.random.default_rng(o.seed)
    nids = [int(i) for i in rng.choice(2**40, o.clients, replace=False)]
    arrays = {nid: rng.uniform(-0.1, 0.1, o.dim).astype(np.float32) for nid in nids}
    weights = {nid: int(rng.integers(1, 1000)) for nid in nids}
    updates = {nid: ndarrays_to_parameters([a]) for nid, a in arrays.items()}
    dropped = set(nids[:round(o.clients * o.drop / 100)])
    grid = OneProcess(updates, weights, dropped)
    strategy = StopAtTheSum(grid)
    manager = SimpleClientManager()
    for nid in nids:
        manager.register(GridClientProxy(nid, grid, 1))
    state = RecordDict({
        MAIN_CONFIGS_RECORD: ConfigRecord({WorkflowKey.CURRENT_ROUND: 1}),
        MAIN_PARAMS_RECORD: ArrayRecord([np.zeros(o.dim, np.float32)])})
    context = LegacyContext(Context(1, 0, {}, state, {}), strategy=strategy,
                            client_manager=manager)
    random.seed(o.seed)
    workflow = SecAggPlusWorkflow(o.shares, o.threshold)
    grid.start, grid.in_clients = time.process_time(), 0.0
    workflow(grid, context)
    survivors = [nid for nid in nids if nid not in dropped]
    return grid, strategy, check(strategy.mean, arrays, weights, survivors)


def check(mean, arrays, weights, survivors):
    """The largest difference from the weighted mean, in units of what quantisation may do: a
    client's coordinate moves by less than a step, and its weight by half a step."""
    if mean is None:
        return None
    total = sum(weights[nid] for nid in survivors)
    right = sum(arrays[nid].astype(np.float64) * weights[nid] for nid in survivors) / total
    step = 2 * CLIP / LEVELS
    bound = 1.01 * (len(survivors) * step * MAX_WEIGHT / total)
    return float(np.abs(mean - right).max() / bound)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--clients", type=int, default=100)
    p.add_argument("--dim", type=int, default=100_000)
    p.add_argument("--shares", type=int, default=21)
    p.add_argument("--threshold", type=int, default=11)
    p.add_argument("--drop", type=float, default=0, help="percent gone before the masked upload")
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    grid, strategy, worst = session(o)
    client = {stage: statistics.median(s) for stage, s in grid.client_s.items()}
    print(json.dumps({
        "version": flwr.__version__, "error_over_bound": worst,
        "server_s": strategy.done, "after_upload_s": strategy.done - grid.last_upload,
        "client_s": sum(client.values()), "client_stage_s": client,
        "bytes_per_parameter": grid.upload_bytes / o.dim / len(grid.client_s[Stage.UNMASK])}))


if __name__ == "__main__":
    main()
