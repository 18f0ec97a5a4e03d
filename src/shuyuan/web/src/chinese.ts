// The server's words in Chinese. `base/told.zh.json` holds the English templates, as they stand in the program's source,
// with what each becomes: {0}, {1} … are filled in as they are, {0*} is a text that is said in Chinese as well.
// A test holds the file to the source: no template of an error is missing, none is there that nobody says. `base/chinese.py`
// reads texts in the same way for the terminal; a test compares the two.
import words from '../../base/told.zh.json'

interface Template { pattern: RegExp; holds: string; becomes: string; letters: number; fixed: number }

const HOLE = /\{(\d+)(\*?)\}/g
const FEWEST = 5 // letters; a template with fewer would fit anything, so what is filled in must be figures
const MOST_KEPT = 20_000 // texts
const LONGEST = 1000 // characters of a line; a longer one is nobody's message
const UNIT = String.raw`(?<=\d ?)(?:[kMGT]?B|[smh])(?!\p{L})` // 1.2 MB, 3m 20s
const FIGURES = String.raw`(?:[^\p{L}]|${UNIT})*?`
const FIGURE = new RegExp(`^${FIGURES}$`, 'u')
const AHEAD = String.raw`(?:\d(?:[\d.,]*\d)?%?)?` // of a hole beside another: a number, or nothing

function template([english, becomes]: [string, string]): Template {
  const texts = english.split(/\{\d+\}/)
  const letters = texts.join('').replace(/[^\p{L}“”]/gu, '').length
  const told = new Set([...becomes.matchAll(HOLE)].filter(([, , star]) => star).map(([, at]) => Number(at)))
  const pattern = texts.map((text, at) => {
    const fixed = text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
    if (at === texts.length - 1) return fixed
    const beside = texts[at + 1] === '' && at + 2 < texts.length
    return `${fixed}(${beside ? AHEAD : letters < FEWEST && !told.has(at) ? FIGURES : '.*?'})`
  })
  const holds = texts.reduce((a, b) => (b.length > a.length ? b : a)).toLowerCase()
  return { pattern: new RegExp(`^${pattern.join('')}$`, 'iu'), holds, becomes, letters, fixed: texts.join('').length }
}

const exact = new Map<string, string>(Object.entries(words))
const templates = Object.entries(words).filter(([english]) => /\{\d+\}/.test(english)).map(template).sort((a, b) => b.fixed - a.fixed)
const kept = new Map<string, string | null>()

/** A text of the server, line by line. What is not known is left as it is. */
export function inChinese(text: string): string {
  const lines = text.split('\n').map((one) => (one.trim().includes(' ') && one.length <= LONGEST ? one.match(/^\s*/)![0] + part(one.trim()) : one))
  return lines.join('\n') // one word is a name
}

const part = (text: string): string => known(text) ?? text

/** The text in Chinese, or null where nothing of it is known. Of several ways to read it, the one that leaves the least English. */
function known(text: string): string | null {
  let found = kept.get(text)
  if (found === undefined) {
    if (kept.size > MOST_KEPT) kept.clear()
    found = exact.get(text) ?? exact.get(text.slice(0, 1).toUpperCase() + text.slice(1)) ?? null // at a start, and after a colon
    if (found === null && /[a-z]{2}/i.test(text)) {
      let least = Infinity
      for (const way of ways(text)) {
        const left = way.replace(/[^a-z]/gi, '').length
        if (left < least) [least, found] = [left, way]
      }
    }
    kept.set(text, found)
  }
  return found
}

/** How a text can be read: as a template, as a hint, a list, with a place in front, a number, something in brackets. */
function* ways(text: string): Generator<string> {
  yield* filled(text)
  yield* placed(text)
  if (text.startsWith('hint: ')) yield `提示：${part(text.slice(6))}`
  for (const way of [joined(text, ' · ', ' · ', some), joined(text, '; ', '；', some), joined(text, ', ', '，', every), counted(text), bracketed(text)]) {
    if (way !== null) yield way
  }
}

const some = (parts: (string | null)[]) => parts.some((part) => part !== null)
const every = (parts: (string | null)[], of: string[]) => some(parts) && parts.every((part, i) => part !== null || isFigure(of[i]!))

function joined(text: string, by: string, becomes: string, enough: (parts: (string | null)[], of: string[]) => boolean): string | null {
  const parts = text.split(by)
  if (parts.length < 2) return null
  const said = parts.map(known)
  return enough(said, parts) ? said.map((one, i) => one ?? parts[i]).join(becomes) : null
}

/** `notes.pdf: the file is empty`; the place may hold colons itself, so it is as long as it can be. */
function* placed(text: string): Generator<string> {
  for (let at = text.lastIndexOf(': '); at > 0; at = text.lastIndexOf(': ', at - 1)) {
    const rest = known(text.slice(at + 2))
    if (rest !== null) yield `${part(text.slice(0, at))}：${rest}`
  }
}

/** `12 files` */
function counted(text: string): string | null {
  const [, figure, what] = /^([\d.,]+) (.+)$/.exec(text) ?? []
  const said = what && known(what)
  return said ? `${figure} ${said}` : null
}

/** `rank of the adapter (≥ 1, ≤ 256; default 16)` */
function bracketed(text: string): string | null {
  const [, ahead = '', inside = ''] = /^(.+?) \((.+)\)$/.exec(text) ?? []
  const said = ahead && known(ahead)
  return said ? `${said}（${part(inside)}）` : null
}

function* filled(text: string): Generator<string> {
  const lower = text.toLowerCase()
  for (const { pattern, holds, becomes, letters } of templates) {
    const values = lower.includes(holds) ? pattern.exec(text)?.slice(1) : undefined
    if (!values) continue
    const parts = [...becomes.matchAll(HOLE)].filter(([, , star]) => star).map(([, at]) => values[Number(at)]!)
    if (values.some((value) => /^[,;:·]/.test(value))) continue // the end of what is in front
    if (letters < FEWEST && parts.length && !parts.some((part) => isFigure(part) || known(part) !== null)) continue
    yield becomes.replace(HOLE, (_, at: string, star: string) => (star ? part(values[Number(at)]!) : values[Number(at)]!))
  }
}

/** Numbers, times and sizes: `1,234`, `3m 20s`, `1.2 MB`, `▁▄█`. */
const isFigure = (text: string): boolean => FIGURE.test(text)
