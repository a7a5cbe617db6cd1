/**
 * The rules that `lint` checks. Each has a stable code, a sentence, its source, and the side that must keep it.
 * `docs/contract.md` is generated from the sentences, and `Fail` accepts only these codes.
 */

import { brand } from '../brand.ts'
import { bodyRules, closeRules, writeRules } from './rules/body.ts'
import { gantryRules } from './rules/context.ts'
import { callRules, environRules } from './rules/environ.ts'
import { headRules, startRules } from './rules/head.ts'
import { inputRules, streamRules } from './rules/streams.ts'

/**
 * The side that must keep a rule. The `server` calls the application: a gateway, or middleware around the application.
 * The `application` is called: the application itself, or middleware.
 */
export type Blame = 'server' | 'application'

/** One rule of the contract. */
export interface Rule {
  /** The side that must keep the rule. */
  readonly owes: Blame
  /**
   * `PEP 3333, <section>`, `RFC <number> §<section>`, `ECMA-262 §…`, or `Gantry` for a rule of Gantry itself. Several
   * sources are separated by `; `.
   */
  readonly source: string
  readonly sentence: string
}

/** The rules by topic, in the order of the events of a request. */
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
/** The code of a rule, such as `START_TWICE`. */
export type RuleCode = CodesOf<(typeof rulesByTopic)[Topic]>

/** All rules by their code. */
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

/**
 * A rule of the contract was broken, by the side `blame`. `code` is stable; `rule` is the sentence of the rule, and
 * `source` is the source of the rule.
 */
export class ContractError extends Error {
  static {
    brand(ContractError, 'ContractError')
  }

  override readonly name: string = 'ContractError'
  readonly code: RuleCode
  readonly blame: Blame
  readonly rule: string
  readonly source: string

  /** @param cause the error that was thrown, if it is an error that broke the rule */
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

/** Reports a broken rule: throws a ContractError, unless that side is not checked. */
export type Fail = (code: RuleCode, detail: string, cause?: unknown) => void

/** A value of any type as short text for an error message. */
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
