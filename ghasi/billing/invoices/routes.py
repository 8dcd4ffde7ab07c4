"""billing-service's operations on invoices, credit notes and billing profiles. Holds no rule."""

from ghasi.billing.accounts import profiles
from ghasi.billing.documents.document import Document
from ghasi.billing.documents.printer import Printer
from ghasi.billing.invoices import exporting, reading, sources
from ghasi.billing.model import Party
from ghasi.contract.serving import Call, Handler, Reply
from ghasi.contract.values import parse_id
from ghasi.storage.pool import Pool


def handlers(pool: Pool, seller: Party, printer: Printer) -> dict[str, Handler]:
    """Return the handlers of invoices."""
    return _of_invoices(pool, seller) | _of_files(pool, seller, printer) | _of_profiles(pool)


def _of_invoices(pool: Pool, seller: Party) -> dict[str, Handler]:
    async def list_invoices(call: Call) -> Reply:
        return Reply(await reading.list_invoices(pool, call.caller, call.query))

    async def get_invoice(call: Call) -> Reply:
        return Reply(await reading.get_invoice(pool, call.caller, parse_id(call.path["invoiceId"]), seller))

    async def preview_invoice(call: Call) -> Reply:
        return Reply(await reading.preview_invoice(pool, call.caller, seller))

    async def get_invoice_sources(call: Call) -> Reply:
        return Reply(await sources.get_sources(pool, call.caller, parse_id(call.path["invoiceId"]), call.query))

    async def list_credit_notes(call: Call) -> Reply:
        return Reply(await reading.list_credit_notes(pool, call.caller, call.query))

    async def get_credit_note(call: Call) -> Reply:
        return Reply(await reading.get_credit_note(pool, call.caller, parse_id(call.path["creditNoteId"]), seller))

    return {
        "list_invoices": list_invoices,
        "get_invoice": get_invoice,
        "preview_invoice": preview_invoice,
        "get_invoice_sources": get_invoice_sources,
        "list_credit_notes": list_credit_notes,
        "get_credit_note": get_credit_note,
    }


def _of_files(pool: Pool, seller: Party, printer: Printer) -> dict[str, Handler]:
    async def print_(document: Document) -> Reply:
        disposition = f'inline; filename="{document.file_name}"'
        return Reply(await printer.print(document), headers=[(b"content-disposition", disposition.encode())])

    async def get_invoice_pdf(call: Call) -> Reply:
        invoice_id = parse_id(call.path["invoiceId"])
        return await print_(await reading.get_document(pool, call.caller, invoice_id, seller))

    async def get_credit_note_pdf(call: Call) -> Reply:
        note_id = parse_id(call.path["creditNoteId"])
        return await print_(await reading.get_credit_note_document(pool, call.caller, note_id, seller))

    async def get_invoice_csv(call: Call) -> Reply:
        detail = await reading.find_detail(pool, call.caller, parse_id(call.path["invoiceId"]))
        file = exporting.write_csv(detail)
        disposition = f'attachment; filename="{file.name}"'
        return Reply(file.content, headers=[(b"content-disposition", disposition.encode())])

    return {
        "get_invoice_pdf": get_invoice_pdf,
        "get_credit_note_pdf": get_credit_note_pdf,
        "get_invoice_csv": get_invoice_csv,
    }


def _of_profiles(pool: Pool) -> dict[str, Handler]:
    async def get_billing_profile(call: Call) -> Reply:
        return Reply(await profiles.get_profile(pool, call.caller))

    async def update_billing_profile(call: Call) -> Reply:
        return Reply(await profiles.update_profile(pool, call.caller, call.body, request_id=call.request_id))

    return {"get_billing_profile": get_billing_profile, "update_billing_profile": update_billing_profile}
