-- Rates as customers ask for them: everybody's and their own, newest first; and whether a later one has taken the place
-- of one, which is looked for among those of its destination.
DROP INDEX billing.rates_by_country;
CREATE INDEX rates_by_place ON billing.rates (currency, country, prefix);
CREATE INDEX rates_of_everybody ON billing.rates (currency, id) WHERE account_id IS NULL;
CREATE INDEX rates_of_account ON billing.rates (account_id, id) WHERE account_id IS NOT NULL;
