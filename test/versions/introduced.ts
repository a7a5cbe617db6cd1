/**
 * Sentences of the behaviour suite that do not hold for older releases. A change that makes a sentence true adds a line
 * in the same commit; a release whose list lacks the line behaves as `before` says. Lines are kept while such releases
 * are in use.
 */

/** The process that must be of the new release for the sentence to hold. */
export type Side = 'proxy' | 'container'

export interface Introduced {
  /** The title of a test of the behaviour suite. */
  readonly sentence: string
  readonly by: Side
  /** What older releases do. */
  readonly before: string
  /** Why the test must not run with an older release: the harm to other tests. */
  readonly harm?: string
}

const WAITS_FOREVER = 'the fixture waits for a body that never becomes complete, and keeps its event loop'

export const introduced: readonly Introduced[] = [
  {
    sentence: 'throws a frozen error gives a 500',
    by: 'container',
    before: 'an error that the log cannot serialize is a second failure, and the request is never answered',
  },
  {
    sentence: 'that does not read sees its body arrive',
    by: 'container',
    before: 'a Node listener sees nothing of its body before it reads',
    harm: WAITS_FOREVER,
  },
  {
    sentence: 'that does not read sees a body without a length arrive',
    by: 'container',
    before: 'a Node listener sees nothing of its body before it reads',
    harm: WAITS_FOREVER,
  },
  {
    sentence: 'sees that an empty body without a length was sent',
    by: 'container',
    before: 'an empty chunked body is shown as one or not, depending on when its end arrives',
    harm: WAITS_FOREVER,
  },
  {
    sentence: 'fails tells the id of its request in a field, and in the page',
    by: 'container',
    before: 'only the page of an error names the id',
  },
  {
    sentence: 'has nothing that a client says of itself in a forwarded field, under any name',
    by: 'proxy',
    before: 'some names (X-Forwarded-User) and spellings (X.Forwarded.For) reach the application',
  },
  {
    sentence: 'has a target with quotes and brackets of every kind as it was sent',
    by: 'proxy',
    before: 'quotes and angle brackets are refused with 400',
  },
  {
    sentence: 'has a Host with any character that a name may hold',
    by: 'proxy',
    before: 'sub-delims in Host are refused with 400',
  },
]

/** The sentences that do not hold if `side` is a release with the list `theirs`. */
export function lacking(
  ours: readonly Introduced[],
  theirs: readonly Introduced[],
  side: Side,
): ReadonlyMap<string, Introduced> {
  const has = new Set(theirs.map(({ sentence, by }) => `${by} ${sentence}`))
  const missing = ours.filter(({ sentence, by }) => by === side && !has.has(`${by} ${sentence}`))
  return new Map(missing.map((one) => [one.sentence, one]))
}
