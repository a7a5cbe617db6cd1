/** Tests of published packages that pass on node:http and not in the pair, and why. */

export interface PublishedDifference {
  /** The end of the file's path. */
  readonly file: string
  /** What its name contains; every test of the file, unless told. */
  readonly test?: string
  readonly reason: string
}

export const publishedDifferences: readonly PublishedDifference[] = []

export function publishedDifference(file: string, test: string): PublishedDifference | undefined {
  return publishedDifferences.find((one) => file.endsWith(one.file) && test.includes(one.test ?? ''))
}
