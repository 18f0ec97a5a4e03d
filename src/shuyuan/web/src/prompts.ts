// A short list of prompts that are worth keeping, with holes to fill; each in Chinese and English.
export interface Prompt { id: string; room: 'write' | 'read' | 'learn' | 'check'; en: [title: string, text: string]; zh: [title: string, text: string] }

export const PROMPTS: Prompt[] = [
  { id: 'summary', room: 'read', en: ['Summarise in five points', 'Summarise {what} in five points. Give each point one sentence and keep every figure.'], zh: ['五点摘要', '把{什么内容}概括为五点，每点一句话，保留所有数字。'] },
  { id: 'where', room: 'read', en: ['Where does it say so?', 'Which passage says that {claim}? Quote it word for word.'], zh: ['出处在哪里', '哪一段写明了“{说法}”？请原文引用。'] },
  { id: 'compare', room: 'read', en: ['Compare two things', 'Compare {one} and {other}: what do they share, how do they differ, and when would one choose each?'], zh: ['比较两者', '比较{甲}和{乙}：有哪些共同点，有哪些不同，各在什么情况下选用？'] },
  { id: 'steps', room: 'read', en: ['Steps to do it', 'List the steps to {task}, in order, with what is needed for each.'], zh: ['操作步骤', '按顺序列出{做某事}的步骤，并说明每一步需要什么。'] },
  { id: 'terms', room: 'learn', en: ['Explain a term', 'Explain {term} to somebody who is new here, in three sentences, with one example.'], zh: ['解释术语', '用三句话向新人解释{术语}，并举一个例子。'] },
  { id: 'quiz', room: 'learn', en: ['Questions to test myself', 'Ask me five short questions about {topic}, then give the answers below a line.'], zh: ['自测题', '就{主题}出五道简短的题目，答案写在分隔线之后。'] },
  { id: 'why', room: 'learn', en: ['Why is it so?', 'Why {fact}? Say which of the reasons stand in the sources and which do not.'], zh: ['为什么', '为什么{事实}？请分清哪些理由有出处，哪些没有。'] },
  { id: 'letter', room: 'write', en: ['A short letter', 'Write a short, friendly letter to {whom} about {matter}. No more than 120 words.'], zh: ['一封短信', '给{某人}写一封关于{事情}的短信，语气友好，不超过一百五十字。'] },
  { id: 'rewrite', room: 'write', en: ['Plain words', 'Rewrite this in plain words and short sentences, and keep every fact:\n\n{text}'], zh: ['改写得平实', '用平实的短句改写下面的文字，保留全部事实：\n\n{文字}'] },
  { id: 'translate', room: 'write', en: ['Translate', 'Translate into {language}. Leave names, numbers and code as they are:\n\n{text}'], zh: ['翻译', '翻译成{语言}，专名、数字和代码保持原样：\n\n{文字}'] },
  { id: 'table', room: 'write', en: ['As a table', 'Put {what} into a table with the columns {columns}. Leave a cell empty where nothing is known.'], zh: ['做成表格', '把{内容}整理成表格，列为{列名}；不知道的留空。'] },
  { id: 'contradictions', room: 'check', en: ['Find contradictions', 'Does anything in the sources contradict this? Name each place.\n\n{text}'], zh: ['找矛盾', '资料中有没有与下面内容矛盾的地方？请逐一指出位置。\n\n{文字}'] },
  { id: 'missing', room: 'check', en: ['What is missing?', 'What would a reader of {text} still need to know in order to {goal}?'], zh: ['缺了什么', '读完{文字}之后，要{达到目的}还需要知道什么？'] },
  { id: 'numbers', room: 'check', en: ['Check the figures', 'List every figure in this text and say for each whether the sources hold it:\n\n{text}'], zh: ['核对数字', '列出下面文字里的每个数字，逐一说明资料中是否有依据：\n\n{文字}'] },
]

/** The holes of a prompt, in the order in which they stand. */
export const holes = (text: string): string[] => [...new Set([...text.matchAll(/\{([^{}]+)\}/g)].map((found) => found[1]!))]
