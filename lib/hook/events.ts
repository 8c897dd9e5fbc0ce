/**
 * The hook events that bg answers, one row each. A row names its handler by a word, so that the fast
 * path loads no handler. `bg install` registers exactly these events.
 */

export type HookEvent = {
	/** A key of the handlers of hook/handle-event.ts. */
	handler: string;
	/** The handler runs only if a notice is due for the session, or for this tool. */
	ifDue?: true;
	orTool?: string;
};

export const hookEvents = {
	SessionStart: { handler: "startSession" },
	UserPromptSubmit: { handler: "deliverDue", ifDue: true },
	PostToolUse: { handler: "finishToolCall", ifDue: true, orTool: "Task" },
	SubagentStop: { handler: "stopSubagent" },
	Stop: { handler: "stopSession" },
	SessionEnd: { handler: "endSession" },
} as const satisfies Record<string, HookEvent>;

export type HandlerName =
	(typeof hookEvents)[keyof typeof hookEvents]["handler"];

/** The row of an event; undefined if bg does not answer it. */
export const findHookEvent = (
	event: string,
): (HookEvent & { handler: HandlerName }) | undefined =>
	Object.hasOwn(hookEvents, event)
		? hookEvents[event as keyof typeof hookEvents]
		: undefined;
