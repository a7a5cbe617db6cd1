/** The anchors of a page's headings, as GitHub makes them. */

/**
 * Lower case, without what is neither letter, digit, space, `_` nor `-`; a space is a `-`; repeated anchors are
 * numbered.
 */
export function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>()
  const counts = new Map<string, number>()
  for (const [, title] of page.replace(/^```.*?^```$/gms, '').matchAll(/^#+ (.*)$/gm)) {
    const letters = title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
    const count = counts.get(letters) ?? 0
    counts.set(letters, count + 1)
    anchors.add(count === 0 ? letters : `${letters}-${count}`)
  }
  return anchors
}
