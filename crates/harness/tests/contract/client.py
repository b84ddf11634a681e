#!/usr/bin/env python3
"""The main job, by a client that was generated from the OpenAPI document and never saw this server (C363).

client.py FOLDER URL    FOLDER holds the generated package `harness_client`; HARNESS_TOKEN and
                        HARNESS_APPROVER_TOKEN the tokens of who asks and who approves.

Every answer goes through the generated types: one that is not what the document says raises. The exit code is 0
when the run was planned, asked about, approved, done, receipted, verified and taken back.
"""

import os, sys

sys.path.insert(0, sys.argv[1])

from harness_client import AuthenticatedClient, models
from harness_client.api.default import (
    approval_decide_approve, approval_get, approval_list, intent_list, intent_plan, intent_submit, receipt_list,
    run_verify, run_get, run_rollback,
)


def client(token):
    return AuthenticatedClient(base_url=sys.argv[2], token=os.environ[token], raise_on_unexpected_status=True)


def got(answer):
    """The document in an answer; a problem is none."""
    assert answer.status_code == 200, (answer.status_code, answer.content)
    assert answer.parsed is not None, answer.content
    return answer.parsed


def main():
    asks, approves = client("HARNESS_TOKEN"), client("HARNESS_APPROVER_TOKEN")
    intents = got(intent_list.sync_detailed(client=asks))
    assert any(item.name == "contract_field_change" for item in intents.items), intents
    inputs = {"account": "ACC-0042", "field": "PaymentTermsDays", "value": "45", "reason": "as agreed"}
    wanted = {"intent": "contract_field_change", "inputs": inputs}
    plan = got(intent_plan.sync_detailed(client=asks, body=models.IntentPlanBody.from_dict(wanted)))
    assert any(step.operation == "crm.update_contract" for step in plan.steps), plan
    body = models.IntentSubmitBody.from_dict({**wanted, "wait_ms": 20_000})
    submitted = got(intent_submit.sync_detailed(client=asks, body=body, idempotency_key="generated-client"))
    again = got(intent_submit.sync_detailed(client=asks, body=body, idempotency_key="generated-client"))
    run = submitted.run.id
    assert (again.run.id, submitted.run.status) == (run, "asking"), (submitted, again)

    waiting = got(approval_list.sync_detailed(client=approves))
    approval = next(item for item in waiting.items if item.run == run).id
    shown = approval_get.sync_detailed(approval, client=approves)
    card = got(shown)
    yes = models.ApprovalDecideApproveBody.from_dict({"digest": card.digest, "wait_ms": 20_000})
    late = approval_decide_approve.sync_detailed(approval, client=approves, body=yes, if_match='"0"')
    assert late.status_code == 412 and isinstance(late.parsed, models.Problem), late
    done = got(approval_decide_approve.sync_detailed(approval, client=approves, body=yes, if_match=shown.headers["etag"]))
    assert done.status == "succeeded", done
    assert got(run_get.sync_detailed(run, client=asks)).run.status == "succeeded"

    receipts = got(receipt_list.sync_detailed(run, client=asks))
    assert len(receipts.items) > 3, receipts
    verified = got(run_verify.sync_detailed(run, client=asks, body=models.RunVerifyBody.from_dict({})))
    assert verified.verdict == "verified", verified
    back = got(run_rollback.sync_detailed(run, client=asks, body=models.RunRollbackBody.from_dict({"wait_ms": 20_000})))
    assert back.run.status == "rolled_back", back
    print("a generated client planned, asked, approved, proved and took back one run")


if __name__ == "__main__":
    main()
