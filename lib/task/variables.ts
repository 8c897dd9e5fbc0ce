/** The environment variables that mark the processes of a task and its supervisor. */

/** Stands in the environment of every process of a task, and finds it again wherever it moved. */
export const taskVariable = "BG_TASK_ID";

/** Which attempt of the task a process belongs to: an earlier one may have left some behind. */
export const attemptVariable = "BG_ATTEMPT";

/** Stands in the environment of a supervisor, which is never part of a task's tree. */
export const supervisorVariable = "BG_SUPERVISOR";
