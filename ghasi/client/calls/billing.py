"""Calls of billing-service."""

from datetime import datetime
from typing import Literal, TypedDict, Unpack

from ghasi.client.transport import Transport
from ghasi.contract import shapes


class RateFilters(TypedDict, total=False):
    """What prices are filtered by; see shapes.RateQuery."""

    number: str | None
    country: str | None
    prefix: str | None
    direction: shapes.Direction | None
    at: datetime | None


class BillingCalls(Transport):
    """One method for each route of billing-service; see client.api.Ghasi."""

    async def get_summary(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        granularity: Literal["hour", "day", "month"] = "day",
        time_zone: str = "UTC",
    ) -> shapes.Summary:
        """Return what became of messages and what they cost, beside the range before; by default of 30 days."""
        query = shapes.SummaryQuery(since=since, until=until, granularity=granularity, time_zone=time_zone)
        return await self._call("get_summary", shapes.Summary, query=query)

    async def list_rates(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[RateFilters]
    ) -> shapes.Page[shapes.Rate]:
        """Return a page of the account's prices, newest first: those that hold at a moment, by default now."""
        query = shapes.RateQuery(limit=limit, cursor=cursor, **filters)
        return await self._call("list_rates", shapes.Page[shapes.Rate], query=query)

    async def get_invoice_pdf(self, invoice_id: str) -> bytes:
        """Return an invoice as PDF."""
        return await self._call("get_invoice_pdf", bytes, path={"invoiceId": invoice_id})

    async def list_invoices(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        status: shapes.InvoiceStatus | None = None,
        overdue: bool | None = None,
        period: str | None = None,
    ) -> shapes.Page[shapes.Invoice]:
        """Return a page of invoices, newest first; `period` is a month, YYYY-MM."""
        query = shapes.InvoiceQuery(limit=limit, cursor=cursor, status=status, overdue=overdue, period=period)
        return await self._call("list_invoices", shapes.Page[shapes.Invoice], query=query)

    async def get_invoice(self, invoice_id: str) -> shapes.InvoiceDetail:
        """Return an invoice with its lines, taxes, payments and credit notes."""
        return await self._call("get_invoice", shapes.InvoiceDetail, path={"invoiceId": invoice_id})

    async def preview_invoice(self) -> shapes.InvoiceDetail:
        """Return what the running month's invoice would say now."""
        return await self._call("preview_invoice", shapes.InvoiceDetail)

    async def get_invoice_csv(self, invoice_id: str) -> bytes:
        """Return an invoice's lines and taxes as CSV."""
        return await self._call("get_invoice_csv", bytes, path={"invoiceId": invoice_id})

    async def get_invoice_sources(
        self, invoice_id: str, *, line: int | None = None, limit: int = 50, cursor: str | None = None
    ) -> shapes.InvoiceSources:
        """Return where an invoice's lines come from, and a page of the charges, of one line or of all."""
        query = shapes.SourceQuery(limit=limit, cursor=cursor, line=line)
        return await self._call(
            "get_invoice_sources", shapes.InvoiceSources, path={"invoiceId": invoice_id}, query=query
        )

    async def list_credit_notes(
        self, *, limit: int = 50, cursor: str | None = None, invoice_id: str | None = None
    ) -> shapes.Page[shapes.CreditNote]:
        """Return a page of credit notes, newest first, of one invoice or of all."""
        query = shapes.CreditNoteQuery(limit=limit, cursor=cursor, invoice_id=invoice_id)
        return await self._call("list_credit_notes", shapes.Page[shapes.CreditNote], query=query)

    async def get_credit_note(self, credit_note_id: str) -> shapes.CreditNoteDetail:
        """Return a credit note with its lines."""
        return await self._call("get_credit_note", shapes.CreditNoteDetail, path={"creditNoteId": credit_note_id})

    async def get_credit_note_pdf(self, credit_note_id: str) -> bytes:
        """Return a credit note as PDF."""
        return await self._call("get_credit_note_pdf", bytes, path={"creditNoteId": credit_note_id})

    async def get_billing_profile(self) -> shapes.BillingProfile:
        """Return what the account is called on invoices."""
        return await self._call("get_billing_profile", shapes.BillingProfile)

    async def update_billing_profile(self, profile: shapes.BillingProfileInput) -> shapes.BillingProfile:
        """Set what the account is called on invoices from now on; owners only."""
        return await self._call("update_billing_profile", shapes.BillingProfile, body=profile)

    async def get_usage(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        granularity: Literal["hour", "day", "month"] = "day",
        group_by: shapes.UsageGrouping | None = None,
        time_zone: str = "UTC",
    ) -> shapes.Usage:
        """Return usage from `since` (inclusive) to `until` (exclusive); by default the zone's current month."""
        query = shapes.UsageQuery(
            since=since, until=until, granularity=granularity, group_by=group_by, time_zone=time_zone
        )
        return await self._call("get_usage", shapes.Usage, query=query)

    async def get_balance(self) -> shapes.Balance:
        """Return the balance, and what may still be spent."""
        return await self._call("get_balance", shapes.Balance)

    async def list_balance_transactions(
        self, *, limit: int = 50, cursor: str | None = None, kind: shapes.TransactionKind | None = None
    ) -> shapes.Page[shapes.BalanceTransaction]:
        """Return a page of what moved the balance, the last first."""
        query = shapes.BalanceTransactionQuery(limit=limit, cursor=cursor, kind=kind)
        return await self._call("list_balance_transactions", shapes.Page[shapes.BalanceTransaction], query=query)

    async def set_spending_limit(self, spending_limit: str | None) -> shapes.Balance:
        """Set the account's own monthly spending limit in its currency; None takes it away."""
        body = shapes.SpendingLimitInput(spending_limit=spending_limit)
        return await self._call("set_spending_limit", shapes.Balance, body=body)
