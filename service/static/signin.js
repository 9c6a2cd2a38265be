/*
 * The face of the page that asks who one is, and what comes of it.
 * Its rule: whatever goes wrong on the way is a sentence there, with the server's code beside it.
 */

import { $ } from "./dom.js";
import { comesBack, currentSession, finishSignIn, goToProvider, offered, signIn } from "./session.js";

/** Which of the page's two faces shows: "signin" or "chat". */
export function show(face) {
  $("signin").hidden = face !== "signin";
  $("chat").hidden = face !== "chat";
}

/** Shows the ways to sign in that the server offers, and why one has to: `code` is for machines. */
export async function askToSignIn({ message = "", code = "" } = {}) {
  show("signin");
  sayWhy(message, code);
  try {
    const { demo, provider } = await offered();
    $("signin-form").hidden = !demo;
    $("signin-provider").hidden = !provider;
    $("signin-none").hidden = demo || provider;
    $(demo ? "signin-name" : "signin-provider").focus();
  } catch (error) {
    sayWhy(`${error.message} Please reload the page.`, error.code);
  }
}

/** Calls `enter` with somebody signed in: now, where there is a session or one comes of this very page, else later. */
export function beginWith(enter) {
  $("signin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => signIn($("signin-name").value), enter);
  });
  $("signin-provider").addEventListener("click", () => attempt(goToProvider, enter));
  if (comesBack()) attempt(finishSignIn, enter);
  else if (currentSession()) enter();
  else askToSignIn();
}

async function attempt(signingIn, enter) {
  sayWhy("");
  try {
    await signingIn();
  } catch (error) {
    return askToSignIn(error);
  }
  if (currentSession()) enter(); // who left for the provider has none yet
}

function sayWhy(message, code = "") {
  $("signin-error").textContent = message;
  $("signin-error").dataset.code = code;
}
