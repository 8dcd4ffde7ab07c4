"""Routes of billing-service beyond the contract."""

from ghasi.contract import shapes
from ghasi.contract.row import CSV, PDF, READ_LIMIT, TIMEOUT_BILLING_S, WRITE_LIMIT, Auth, Row, Upstream

ROWS: tuple[Row, ...] = (
    Row(
        operation="get_summary", method="GET", path="/v1/billing/summary", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.SummaryQuery, response=shapes.Summary, extension=True,
        summary="Show what became of messages and what they cost, beside the range before",
    ),
    Row(
        operation="list_rates", method="GET", path="/v1/billing/rates", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.RateQuery, response=shapes.Page[shapes.Rate], problems=("invalid_cursor",), extension=True,
        summary="List the account's prices, newest first",
    ),
    Row(
        operation="get_invoice_pdf", method="GET", path="/v1/billing/invoices/{invoiceId}/pdf",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, media=PDF, problems=("not_found",), extension=True,
        summary="Download an invoice as PDF",
    ),
    Row(
        operation="get_balance", method="GET", path="/v1/billing/balance", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.Balance, extension=True, summary="Show the balance, and what may still be spent",
    ),
    Row(
        operation="list_balance_transactions", method="GET", path="/v1/billing/balance/transactions",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, query=shapes.BalanceTransactionQuery,
        response=shapes.Page[shapes.BalanceTransaction], problems=("invalid_cursor",), extension=True,
        summary="List what moved the balance, the last first",
    ),
    Row(
        operation="set_spending_limit", method="PUT", path="/v1/billing/spending-limit",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        body=shapes.SpendingLimitInput, response=shapes.Balance, problems=("owner_required",), extension=True,
        summary="Set a monthly spending limit of the account's own, or take it away; owners only",
    ),
    Row(
        operation="get_invoice_csv", method="GET", path="/v1/billing/invoices/{invoiceId}/csv",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, media=CSV, problems=("not_found",), extension=True,
        summary="Download an invoice's lines and taxes as CSV",
    ),
    Row(
        operation="get_invoice_sources", method="GET", path="/v1/billing/invoices/{invoiceId}/sources",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, query=shapes.SourceQuery, response=shapes.InvoiceSources,
        problems=("not_found", "invalid_cursor"), extension=True,
        summary="Show where every line of an invoice comes from, down to the messages",
    ),
    Row(
        # an exact path comes before /v1/billing/invoices/{invoiceId}, and no id is `preview`
        operation="preview_invoice", method="GET", path="/v1/billing/invoices/preview", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.InvoiceDetail, extension=True, summary="Show what the running month's invoice would say now",
    ),
    Row(
        operation="list_credit_notes", method="GET", path="/v1/billing/credit-notes", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        query=shapes.CreditNoteQuery, response=shapes.Page[shapes.CreditNote], problems=("invalid_cursor",),
        extension=True, summary="List credit notes, newest first",
    ),
    Row(
        operation="get_credit_note", method="GET", path="/v1/billing/credit-notes/{creditNoteId}",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, response=shapes.CreditNoteDetail, problems=("not_found",), extension=True,
        summary="Show a credit note with its lines",
    ),
    Row(
        operation="get_credit_note_pdf", method="GET", path="/v1/billing/credit-notes/{creditNoteId}/pdf",
        upstreams=(Upstream.BILLING,), auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT,
        timeout_s=TIMEOUT_BILLING_S, media=PDF, problems=("not_found",), extension=True,
        summary="Download a credit note as PDF",
    ),
    Row(
        operation="get_billing_profile", method="GET", path="/v1/billing/profile", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, scope="billing:read", limit=READ_LIMIT, timeout_s=TIMEOUT_BILLING_S,
        response=shapes.BillingProfile, extension=True, summary="Show what the account is called on invoices",
    ),
    Row(
        operation="update_billing_profile", method="PUT", path="/v1/billing/profile", upstreams=(Upstream.BILLING,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_BILLING_S, body=shapes.BillingProfileInput,
        response=shapes.BillingProfile, problems=("owner_required",), extension=True,
        summary="Set what the account is called on invoices from now on; owners only",
    ),
)  # fmt: skip
