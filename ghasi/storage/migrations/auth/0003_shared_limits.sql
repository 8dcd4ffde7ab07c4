-- Gateways that share their limits hold the lease together; `instance` is then the one that asked last.
ALTER TABLE auth.gateway_lease ADD COLUMN shares_limits boolean NOT NULL DEFAULT false;
