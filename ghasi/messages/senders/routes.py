"""sms-orchestrator's handlers about senders and opt-outs.

What a caller changed holds for the caller's next send to this process; other processes know it 0.4 s later.
"""

from collections.abc import Callable
from uuid import UUID

from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.messages.senders import opt_outs, senders
from ghasi.storage.pool import Pool


def handlers(pool: Pool, changed: Callable[[UUID], object]) -> dict[str, Handler]:
    """Give the handlers; `changed` is told which account's rules are not what they were."""

    async def list_senders(call: Call) -> Reply:
        return Reply(await senders.list_senders(pool, call.caller, call.query))

    async def update_sender(call: Call) -> Reply:
        sender_id = parse_id(call.path["senderId"])
        sender = await senders.update_sender(pool, call.caller, sender_id, call.body, request_id=call.request_id)
        changed(call.caller.account_id)
        return Reply(sender)

    async def list_opt_outs(call: Call) -> Reply:
        return Reply(await opt_outs.list_opt_outs(pool, call.caller, call.query))

    async def create_opt_out(call: Call) -> Reply:
        opt_out = await opt_outs.create_opt_out(pool, call.caller, call.body, request_id=call.request_id)
        changed(call.caller.account_id)
        return Reply(opt_out)

    async def delete_opt_out(call: Call) -> Reply:
        opt_out_id = parse_id(call.path["optOutId"])
        await opt_outs.delete_opt_out(pool, call.caller, opt_out_id, request_id=call.request_id)
        changed(call.caller.account_id)
        return Reply()

    return {
        "list_senders": list_senders,
        "update_sender": update_sender,
        "list_opt_outs": list_opt_outs,
        "create_opt_out": create_opt_out,
        "delete_opt_out": delete_opt_out,
    }
