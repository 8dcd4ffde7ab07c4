// The script of the pages before signing in, where "Continue with Google" is offered.
import { browserPopupRedirectResolver, GoogleAuthProvider, signInWithPopup } from "@firebase/auth";
import { start } from "./sign_in_forms.js";

start({
  resolver: browserPopupRedirectResolver,
  signIn: (auth) => signInWithPopup(auth, new GoogleAuthProvider()),
});
