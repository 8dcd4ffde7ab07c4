"""The contract with examples in place of services, for front-end work: the real gateway before a stand-in upstream.

What the gateway answers is its own: authentication, limits, sizes, errors, headers. What services answer is made of the
contract's shapes and examples, and of what was created since the start; it is kept in memory alone, and little of it.
"""
