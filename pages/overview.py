import streamlit as st

from pages.parts import frame

frame.enter()
st.title('x')
