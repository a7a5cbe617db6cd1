/**
 * The rules that `lint` checks: a stable code, the sentence that states the rule, where that comes from, and who owes it.
 *
 * These sentences are the specification (`docs/contract.md` is made from them), so a check without a sentence here cannot be
 * written: `Fail` takes only these codes. How a rule is checked is not known here.
 */

import { brand } from '../brand.ts'
import { bodyRules, closeRules, writeRules } from './rules/body.ts'
import { gantryRules } from './rules/context.ts'
import { callRules, environRules } from './rules/environ.ts'
import { headRules, startRules } from './rules/head.ts'
import { inputRules, streamRules } from './rules/streams.ts'

/**
 * Who breaks a rule: the `server` is whoever calls the application (a gateway, or middleware facing inwards), the
 * `application` whoever is called (or middleware facing its server).
 */
export type Blame = 'server' | 'application'

export interface Rule {
  readonly owes: Blame
  /** `PEP 3333, <section>`, `RFC <number> §<section>`, `ECMA-262 §…`, or `Gantry` for what is the contract's own; several with `; `. */
  readonly source: string
  readonly sentence: string
}

/** By what they are about, in the order in which a request meets them. */
export const rulesByTopic: {
  readonly call: typeof callRules
  readonly environ: typeof environRules
  readonly input: typeof inputRules
  readonly streams: typeof streamRules
  readonly start: typeof startRules
  readonly head: typeof headRules
  readonly write: typeof writeRules
  readonly body: typeof bodyRules
  readonly close: typeof closeRules
  readonly gantry: typeof gantryRules
} = {
  call: callRules,
  environ: environRules,
  input: inputRules,
  streams: streamRules,
  start: startRules,
  head: headRules,
  write: writeRules,
  body: bodyRules,
  close: closeRules,
  gantry: gantryRules,
}

export type Topic = keyof typeof rulesByTopic
type CodesOf<T> = T extends unknown ? keyof T : never
export type RuleCode = CodesOf<(typeof rulesByTopic)[Topic]>

/** All of them, by code. */
export const rules: Readonly<Record<RuleCode, Rule>> = {
  ...callRules,
  ...environRules,
  ...inputRules,
  ...streamRules,
  ...startRules,
  ...headRules,
  ...writeRules,
  ...bodyRules,
  ...closeRules,
  ...gantryRules,
}

/** One side broke the contract. `code` is stable; `rule` is the sentence that was broken, `source` where it comes from. */
export class ContractError extends Error {
  static {
    brand(ContractError, 'ContractError')
  }

  override readonly name: string = 'ContractError'
  readonly code: RuleCode
  readonly blame: Blame
  readonly rule: string
  readonly source: string

  /** @param cause what was thrown, where throwing it was the fault */
  constructor(code: RuleCode, detail: string, cause?: unknown) {
    const { owes, sentence, source } = rules[code]
    super(
      `the ${owes} broke the contract, ${code}: ${detail}. ${sentence} (${source})`,
      cause === undefined ? undefined : { cause },
    )
    this.code = code
    this.blame = owes
    this.rule = sentence
    this.source = source
  }
}

/** Reports a broken rule: throws a ContractError, unless that side is not being checked. */
export type Fail = (code: RuleCode, detail: string, cause?: unknown) => void

/** A value as a short piece of a sentence. */
export function show(value: unknown): string {
  let text: string
  if (typeof value === 'string') text = JSON.stringify(value)
  else if (typeof value === 'function') text = `function ${value.name || '(anonymous)'}`
  else if (typeof value === 'object' && value !== null) {
    const kind = value.constructor?.name ?? 'null-prototype object'
    if (Array.isArray(value)) text = `an array of ${value.length}`
    else text = `${/^[AEIOU]/.test(kind) ? 'an' : 'a'} ${kind}`
  } else text = String(value)
  return text.length > 120 ? `${text.slice(0, 117)}…` : text
}
