-- Refuses, in Kong's bundled post-function, a token that the jwt plugin believed but that is not for this API.
local refusal = kong.ctx.shared.ghasi_refusal
if refusal then
  return kong.response.exit(refusal.status, refusal.body, refusal.headers)
end
